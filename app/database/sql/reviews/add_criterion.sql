-- Adds a criterion to a review.
INSERT INTO criterion VALUES ($review_id, $place, $measure, $direction, $margin)
