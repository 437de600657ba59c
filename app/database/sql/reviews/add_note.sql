-- Adds a note or a decision to a review.
INSERT INTO note (review_id, kind, author, written_at, text, snapshot, content_hash)
VALUES ($review_id, $kind, $author, $written_at, $text, $snapshot, $content_hash)
