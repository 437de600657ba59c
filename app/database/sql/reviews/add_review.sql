-- Adds a review.
INSERT INTO review VALUES ($review_id, $created_at, $author, $question, $baseline, $candidate, $filters, $snapshot, $content_hash)
