-- One row per (model, kind): the highest peak memory of its samples in bytes, of all its work units whatever the filters, and what it counts.
SELECT model_id, memory_kind AS kind, max(peak_memory)::BIGINT AS bytes FROM sample
WHERE model_id IN $models AND peak_memory IS NOT NULL GROUP BY ALL ORDER BY model_id, kind
