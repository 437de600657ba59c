"""Planted distances to a reference entry: SQL for a copy of the study of `results` (3 models, 24 prompts, 2 seeds, 12 steps)."""

from __future__ import annotations

PARTED, HALF = (
    6,
    12,
)  # the step from which model 2 is beyond the threshold; prompts of model 3 that part from the start
NEAR, FAR = 0.99, 0.85
_METRIC = (
    "INSERT INTO metric VALUES (1, 'x0-ssim', 'SSIM of x0', false, -1, 1, 'SSIM (Gaussian window of 11 px) to scenes-unet', "
    "'recorded frames (WebP), RGB', 'step', repeat('0', 64), '2026-11-29T00:00:00+00:00', 0)"
)
_SCORE = f"""
INSERT INTO score
SELECT 1, sample_id, model_id, prompt_id, seed, list_extract(step_values, -1), range(12), step_values FROM (
    SELECT sample_id, model_id, prompt_id, seed, [
        CASE WHEN model_id = 2 THEN CASE WHEN step >= {PARTED} THEN {FAR} ELSE {NEAR} END
            ELSE CASE WHEN prompt_id <= {HALF} THEN {FAR} ELSE {NEAR} END END
        FOR step IN range(12)
    ] AS step_values
    FROM sample WHERE model_id > 1
) ORDER BY sample_id
"""
_SPEC = (
    "UPDATE study SET spec = json_merge_patch(spec, "
    """'{"distance": [{"kind": "ssim", "name": "x0-ssim", "reference": "scenes-unet", "steps": true}]}')"""
)
WITH_DISTANCES = (_METRIC, _SCORE, _SPEC)
"""Model 2 parts from model 1 at step PARTED for every prompt and seed; of model 3 half of the prompts do from the start, the others never."""
