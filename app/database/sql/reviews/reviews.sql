-- One row per review, the newest first.
SELECT review_id, created_at, author, question, baseline, candidate, filters, snapshot, content_hash
FROM review ORDER BY created_at DESC, review_id
