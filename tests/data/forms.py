"""Records of the published forms, as small as they can be, and files of them."""

import json
from pathlib import Path


def dump(path: Path, records) -> Path:
    path.write_text(json.dumps(records), encoding="utf-8")
    return path


def counterfact_record(**changes):
    return {
        "case_id": 3,
        "requested_rewrite": {
            "prompt": "{}, in",
            "relation_id": "P30",
            "target_new": {"str": "Africa", "id": "Q15"},
            "target_true": {"str": "Antarctica", "id": "Q51"},
            "subject": "Mount Murphy",
        },
        "paraphrase_prompts": ["It rained. Mount Murphy belongs to", "{x} Mount Murphy is in"],
        "neighborhood_prompts": ["Ross Island is in", "'Adud Bay, in"],
        "neighborhood_samples": [
            {"subject": "Ross Island", "prompt": "{} is in"},
            {"subject": "Adud Bay", "prompt": "{}, in"},
        ],
    } | changes


def eligible_record(**changes):
    return {
        "case_id": 0,
        "prompt": "LinkedIn, by",
        "target_new": "Indianapolis",
        "ground_truth": "Microsoft",
        "subject": "LinkedIn",
        "rephrase_prompt": ["Felt far away. LinkedIn, from", "LinkedIn is owned by"],
        "locality": {
            "neighborhood": {"prompt": ["Skype is owned by"], "ground_truth": ["Microsoft"]}
        },
        "neighborhood_samples": [{"subject": "Bing", "prompt": "{} is owned by"}],
        "portability": {},
    } | changes


def zsre_record(**changes):
    return {
        "subject": "Life Electric",
        "src": "The designer for Life Electric was?",
        "rephrase": "What architect did Life Electric design?",
        "alt": "Mitsumasa Anno",
        "answers": ["Daniel Libeskind", "Libeskind"],
        "loc": "nq question: who sang the theme song",
        "loc_ans": "Gladys Knight",
    } | changes
