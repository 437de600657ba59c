-- One row: how many steps the curves of a model have.
SELECT max(len(similarity)) AS steps FROM rollup_prompt WHERE model_id = $model;
