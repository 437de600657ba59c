-- Rounds the curves of a copy of a snapshot, so that they take less room. The variable decimals: to how many.
UPDATE trajectory SET similarity = list_transform(similarity, lambda value: round(value, getvariable('decimals')::INTEGER)::FLOAT);
UPDATE rollup_prompt SET similarity = list_transform(similarity, lambda value: round(value, getvariable('decimals')::INTEGER)::FLOAT);
