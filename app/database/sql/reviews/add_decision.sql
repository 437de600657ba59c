-- Keeps what a review said.
INSERT INTO decision (review_id, kind, author, made_at, snapshot, content_hash, scorer, filters, numbers)
VALUES ($review_id, $kind, $author, $made_at, $snapshot, $content_hash, $scorer, $filters, $numbers)
