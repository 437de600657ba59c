-- One row per criterion of a review.
SELECT measure, direction, margin FROM criterion WHERE review_id = $review_id ORDER BY place
