-- One row per frozen decision of a review, the newest first.
SELECT kind, author, made_at, snapshot, content_hash, scorer, filters, numbers
FROM decision WHERE review_id = $review_id ORDER BY decision_id DESC
