-- One row per image of a shard, its first ones: what a run in progress has sampled.
SELECT model::VARCHAR, seed::INTEGER, image::BLOB
FROM read_parquet($file)
WHERE status = 'done' AND image IS NOT NULL AND octet_length(image::BLOB) <= $largest
LIMIT $most
