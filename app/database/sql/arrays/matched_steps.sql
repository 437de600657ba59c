-- One row per candidate: where its curve is read for the steps of the baseline; see the macro.
FROM matched_steps($baseline, $candidates, $axis)
