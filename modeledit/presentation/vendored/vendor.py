"""Put the libraries of libraries.yaml into this folder.

`python modeledit/presentation/vendored/vendor.py`; needs npm. Each file is checked against its
sha256 before it replaces the one that is here; to take another version, change it in libraries.yaml
together with the digests that this prints.
"""

import hashlib
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import yaml

FOLDER = Path(__file__).parent


def vendor(folder: Path = FOLDER) -> None:
    """Fetch, check and write every file. Raises SystemExit where a digest is another one."""
    with tempfile.TemporaryDirectory() as scratch:
        for package, library in yaml.safe_load((folder / "libraries.yaml").read_text()).items():
            wanted = f"{package}@{library['version']}"
            asked = ["npm", "pack", "--silent", "--pack-destination", scratch, wanted]
            name = subprocess.run(asked, check=True, capture_output=True, text=True).stdout.strip()
            with tarfile.open(Path(scratch) / name) as packed:
                for file, (member, digest) in library["files"].items():
                    packed.extract(f"package/{member}", scratch, filter="data")
                    content = (Path(scratch) / "package" / member).read_bytes()
                    found = hashlib.sha256(content).hexdigest()
                    if found != digest:
                        sys.exit(f"{wanted}: {member} has sha256 {found}, not {digest}")
                    (folder / file).write_bytes(content)
                    print(f"{wanted}: {file}")


if __name__ == "__main__":
    vendor()
