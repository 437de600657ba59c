-- One row per sample that ended well: its seconds; sorted.
SELECT model_id, prompt_id, seed, seconds AS value FROM sample WHERE status = 'done' ORDER BY model_id, prompt_id, seed
