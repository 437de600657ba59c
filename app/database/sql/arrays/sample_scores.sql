-- One row per sample that has the score ('' = CLIP), of a score per prompt one per model and prompt, without seed; sorted.
SELECT model_id, prompt_id, seed, value FROM scored_sample($metric) ORDER BY model_id, prompt_id, seed
