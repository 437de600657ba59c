-- One row per (scorer, sample, concept) of one model, in the order of the shards; becomes `trajectory`.
CREATE OR REPLACE TEMP TABLE staged (
    scorer INTEGER,                       -- 1 = the study's first
    model_id INTEGER,
    concept_id INTEGER,
    prompt_id INTEGER,
    seed BIGINT,
    sample_id BIGINT,
    similarity FLOAT[],
    final FLOAT,
    rise FLOAT,
    spearman FLOAT,
    auc FLOAT
);
