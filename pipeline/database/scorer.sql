-- The tables of a further scorer, in its own schema, where they stand in for those of the same name in main: whoever has
-- that schema first in the search path reads this scorer's numbers with the same SQL. All other tables are main's.
CREATE TABLE trajectory AS FROM main.trajectory LIMIT 0;
CREATE TABLE contrast AS FROM main.contrast LIMIT 0;
CREATE TABLE rollup_prompt AS FROM main.rollup_prompt LIMIT 0;
CREATE TABLE rollup_step AS FROM main.rollup_step LIMIT 0;
CREATE TABLE rollup_trajectory AS FROM main.rollup_trajectory LIMIT 0;
CREATE TABLE cell_curve AS FROM main.cell_curve LIMIT 0;
CREATE TABLE cell_pair AS FROM main.cell_pair LIMIT 0;
CREATE TABLE correlation_concept AS FROM main.correlation_concept LIMIT 0;
CREATE TABLE correlation_model AS FROM main.correlation_model LIMIT 0;
CREATE TABLE study AS FROM main.study LIMIT 0;

-- One row per done sample: this scorer's cosine of the final image and the prompt.
CREATE TABLE clip_score (sample_id BIGINT PRIMARY KEY, clip_score FLOAT);
-- main.sample with this scorer's clip_score; NULL when failed.
CREATE VIEW sample AS
SELECT sample.* REPLACE (own.clip_score AS clip_score)
FROM main.sample AS sample LEFT JOIN clip_score AS own USING (sample_id);
