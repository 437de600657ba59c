-- matched_steps($baseline, $candidates, $axis): per candidate the steps of the baseline at which its curve can be read, between
-- its step `below` and the next, by `weight`; plain where both have the same steps.
CREATE TEMP MACRO matched_steps(baseline, candidates, axis) AS TABLE
WITH level AS (
    SELECT model_id, step, CASE axis WHEN 'log_snr' THEN axis_log_snr
        WHEN 'progress' THEN step / greatest(max(step) OVER (PARTITION BY model_id), 1) ELSE step END AS x
    FROM step WHERE model_id = baseline OR model_id IN candidates
),
span AS (
    SELECT *, lead(x, 1, x) OVER (PARTITION BY model_id ORDER BY step) AS next FROM level
),
match AS (  -- where the candidate's curve is read for a step of the baseline: between its step `below` and the next
    SELECT c.model_id, a.step, c.step AS below,
           CASE WHEN c.next - c.x > 1e-6 THEN greatest(least((a.x - c.x) / (c.next - c.x), 1), 0) ELSE 0 END AS weight
    FROM level AS a JOIN span AS c ON a.x BETWEEN c.x - 1e-6 AND c.next + 1e-6
    WHERE a.model_id = baseline AND c.model_id IN candidates
    QUALIFY row_number() OVER (PARTITION BY c.model_id, a.step
        ORDER BY abs(a.x - c.x) <= 1e-6 AND a.step = c.step DESC, c.step DESC) = 1
)
SELECT model_id, list(step ORDER BY step) AS steps, list(below ORDER BY step) AS below,
       list(weight ORDER BY step) AS weight, bool_and(below = step AND weight = 0) AS plain
FROM match GROUP BY model_id
