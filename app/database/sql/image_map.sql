-- One row per bin of the map of images that holds an image of the models, seeds and categories shown: the limits of the bin on the
-- two principal components, how many images it holds, of how many prompts, how many of them the slice leaves, and the image nearest to its
-- centre, of those that the slice leaves where there are any. The bins, $columns x $rows, do not depend on the slice.
WITH point AS (
    SELECT t.sample_id, t.prompt_id, t.x[-1]::DOUBLE AS x, t.y[-1]::DOUBLE AS y, left_by.prompt_id IS NOT NULL AS is_left
    FROM path AS t JOIN scoped_prompt($categories, NULL) USING (prompt_id)
    LEFT JOIN scoped_prompt($categories, $slice) AS left_by USING (prompt_id)
    WHERE t.model_id IN $models AND t.seed IN $seeds
),
extent AS (
    SELECT min(x) AS left_end, greatest(max(x) - min(x), 1e-6) / $columns AS width,
           min(y) AS bottom, greatest(max(y) - min(y), 1e-6) / $rows AS height
    FROM point
),
binned AS (
    SELECT p.*, e.width, e.height,
           e.left_end + e.width * least(floor((x - e.left_end) / e.width), $columns - 1) AS x_low,
           e.bottom + e.height * least(floor((y - e.bottom) / e.height), $rows - 1) AS y_low
    FROM point AS p, extent AS e
),
nearest AS (
    SELECT sample_id, x_low, x_low + width AS x_high, y_low, y_low + height AS y_high,
           count(*) OVER bin AS images, count(DISTINCT prompt_id) OVER bin AS prompts,
           count(*) FILTER (is_left) OVER bin AS images_left
    FROM binned WINDOW bin AS (PARTITION BY x_low, y_low)
    QUALIFY row_number() OVER (PARTITION BY x_low, y_low ORDER BY is_left DESC,
        ((x - x_low) / width - 0.5) ** 2 + ((y - y_low) / height - 0.5) ** 2, sample_id) = 1
),
last_frame AS (
    SELECT sample_id, arg_max(f.image, f.step) AS image FROM frame AS f JOIN nearest USING (sample_id) GROUP BY sample_id
)
SELECT n.x_low, n.x_high, n.y_low, n.y_high, n.images::INTEGER AS images, n.prompts::INTEGER AS prompts,
       n.images_left::INTEGER AS images_left, s.prompt_id, p.prompt_key, p.text, s.model_id, s.seed, coalesce(f.image, s.image) AS image
FROM nearest AS n JOIN sample AS s USING (sample_id) JOIN prompt AS p USING (prompt_id)
LEFT JOIN last_frame AS f USING (sample_id)
ORDER BY n.y_low, n.x_low
