"""The tables that benchmarks/README.md has of gpu.py's results, in Markdown.

python benchmarks/gpu_table.py benchmarks/measured/h100.json
"""
