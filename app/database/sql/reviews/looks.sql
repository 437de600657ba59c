-- One row per look of a gate, in order.
SELECT number, looked_at, prompts, most, shape, snapshot, content_hash, verdict FROM look WHERE gate = $gate ORDER BY number
