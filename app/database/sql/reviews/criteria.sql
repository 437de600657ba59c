-- One row per criterion of any review.
SELECT review_id, measure, direction, margin FROM criterion ORDER BY review_id, place
