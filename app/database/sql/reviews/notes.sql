-- One row per note of a review, in the order written.
SELECT kind, author, written_at, text, snapshot, content_hash FROM note WHERE review_id = $review_id ORDER BY note_id
