-- The DuckDB schema: the only thing that pipeline/ and app/ share. Built whole by `publish`, read-only afterwards.
-- Units: similarity = cosine in [-1, 1]; step counts denoising steps from 0 (the noisiest); seconds are wall-clock.
-- "interval" columns (low, high) are 95 % confidence limits whose unit is the prompt (seeds averaged first).
-- These tables are in the schema `main` and hold the study's first scorer. A further scorer has the schema scorer_2, scorer_3,
-- ... (by its place in the study file) with tables of its own, by the same names, for all that depends on it (scorer.sql).

-- One row. What was studied, with what, and where it came from.
CREATE TABLE study (
    name VARCHAR NOT NULL,
    title VARCHAR NOT NULL,
    description VARCHAR NOT NULL,
    schema_version INTEGER NOT NULL,
    snapshot INTEGER NOT NULL,            -- number of this snapshot, 1, 2, ...
    published_at TIMESTAMP NOT NULL,      -- UTC
    content_hash VARCHAR NOT NULL,        -- sha256 over every published sample's content; independent of time and place
    spec VARCHAR NOT NULL,                -- the study file as JSON
    environment VARCHAR NOT NULL,         -- JSON: versions, device, threads, git commit
    scorer VARCHAR NOT NULL,              -- the CLIP model that measured similarity, the primary one; names are in spec
    seeds BIGINT[] NOT NULL,
    planned_samples BIGINT NOT NULL,      -- models x prompts x seeds
    done_samples BIGINT NOT NULL,
    failed_samples BIGINT NOT NULL        -- planned - done - failed = missing
);

-- One row per model entry of the study (a model with another scheduler or schedule is another entry).
CREATE TABLE model (
    model_id INTEGER PRIMARY KEY,         -- 1.. in the order of the study file
    name VARCHAR NOT NULL UNIQUE,
    label VARCHAR NOT NULL,               -- what a chart shows
    source VARCHAR NOT NULL,              -- folder or Hub id
    revision VARCHAR NOT NULL,            -- Hub revision or hash of the folder
    pipeline VARCHAR NOT NULL,            -- diffusers class
    family VARCHAR NOT NULL,              -- "unet", "mmdit", "unknown", ...
    prediction_type VARCHAR NOT NULL,     -- epsilon, v_prediction, sample, flow
    scheduler VARCHAR NOT NULL,
    schedule VARCHAR NOT NULL,            -- default, uniform, early, late, karras, ...
    gamma DOUBLE,                         -- of exponential timestep sampling, else NULL
    steps INTEGER NOT NULL,               -- denoising steps asked for
    guidance DOUBLE,                      -- classifier-free guidance scale; NULL = off
    dtype VARCHAR NOT NULL,
    parameters BIGINT NOT NULL            -- of the denoiser
);

-- One row per prompt of the study, duplicates removed.
CREATE TABLE prompt (
    prompt_id INTEGER PRIMARY KEY,        -- 1.. in the order of the prompt set
    prompt_key VARCHAR NOT NULL UNIQUE,   -- content hash of the text, stable across studies
    text VARCHAR NOT NULL,                -- untrusted text: show, never interpret
    source VARCHAR NOT NULL,              -- file and line
    category VARCHAR NOT NULL,            -- '' where the set has none
    roles VARCHAR NOT NULL,               -- JSON {"subject": ["cat"], "relation": [...], "object": [...], "attribute": [...]}
    words INTEGER NOT NULL                -- number of words
);

-- One row per concept of the bank; concept_id 0 is the whole prompt (family 'prompt', name '(whole prompt)').
CREATE TABLE concept (
    concept_id INTEGER PRIMARY KEY,
    name VARCHAR NOT NULL,
    family VARCHAR NOT NULL,
    phrasings VARCHAR[] NOT NULL
);

-- One row per (prompt, concept) whose text names the concept: the words of the concept's name, one after the other. Words
-- are runs of letters and digits, without case. Not of the whole prompt (concept 0).
CREATE TABLE mention (
    prompt_id INTEGER NOT NULL,
    concept_id INTEGER NOT NULL
);

-- One row per planned sample that was tried: one image.
CREATE TABLE sample (
    sample_id BIGINT PRIMARY KEY,         -- 1.. in the order (model, prompt, seed)
    model_id INTEGER NOT NULL,
    prompt_id INTEGER NOT NULL,
    seed BIGINT NOT NULL,
    status VARCHAR NOT NULL,              -- done | failed
    error VARCHAR NOT NULL,               -- '' when done
    notice VARCHAR NOT NULL,              -- '' or what was odd: 'prompt truncated to 77 tokens', 'NUL removed', ...
    seconds DOUBLE NOT NULL,              -- share of the batch's wall-clock time
    clip_score FLOAT,                     -- cosine of the final image and the prompt; NULL when failed
    width INTEGER NOT NULL,
    height INTEGER NOT NULL,
    image BLOB                            -- final image, lossless WebP; NULL when failed
);

-- One row per (model, denoiser call): where on the noise schedule the step stands. Both calls of a second-order step count.
CREATE TABLE step (
    model_id INTEGER NOT NULL,
    step INTEGER NOT NULL,
    timestep DOUBLE NOT NULL,             -- the value the scheduler really used
    alpha DOUBLE NOT NULL,                -- x = alpha x0 + sigma eps
    sigma DOUBLE NOT NULL,
    log_snr DOUBLE NOT NULL,              -- ln(alpha^2 / sigma^2)
    call INTEGER NOT NULL,                -- 1, or 2 for the second evaluation of a second-order step (Heun, KDPM2)
    PRIMARY KEY (model_id, step)
);

-- One row per (sample, concept); sorted by (model, concept, prompt, seed).
CREATE TABLE trajectory (
    model_id INTEGER NOT NULL,
    concept_id INTEGER NOT NULL,
    prompt_id INTEGER NOT NULL,
    seed BIGINT NOT NULL,
    sample_id BIGINT NOT NULL,
    similarity FLOAT[] NOT NULL,          -- cosine per step, of the predicted clean image
    final FLOAT NOT NULL,                 -- last step
    rise FLOAT NOT NULL,                  -- last minus first step
    spearman FLOAT,                       -- of similarity and step; NULL for a constant curve
    auc FLOAT,                            -- area under the min-max scaled curve, 0..1, high = early riser; NULL if constant
    emergence_step INTEGER                -- see METHODS; NULL when it never emerges
);

-- One row per (model, concept, prompt): seeds averaged. The unit of every statistic. Sorted like trajectory.
CREATE TABLE rollup_prompt (
    model_id INTEGER NOT NULL,
    concept_id INTEGER NOT NULL,
    prompt_id INTEGER NOT NULL,
    seeds INTEGER NOT NULL,               -- seeds averaged
    similarity FLOAT[] NOT NULL,          -- mean over seeds, per step
    final FLOAT NOT NULL,
    rise FLOAT NOT NULL,
    spearman FLOAT,
    auc FLOAT,
    emergence_step FLOAT                  -- mean over the seeds that emerge
);

-- One row per (model, concept, category, step); category '' = all prompts.
CREATE TABLE rollup_step (
    model_id INTEGER NOT NULL,
    concept_id INTEGER NOT NULL,
    category VARCHAR NOT NULL,
    step INTEGER NOT NULL,
    prompts INTEGER NOT NULL,
    samples INTEGER NOT NULL,
    mean FLOAT NOT NULL,
    low FLOAT,                            -- interval over prompts; NULL for fewer than 2
    high FLOAT,
    sd FLOAT,                             -- over prompts
    r_final FLOAT                         -- Pearson correlation over prompts with the final step's value
);

-- One row per (model, concept, category); category '' = all prompts.
CREATE TABLE rollup_trajectory (
    model_id INTEGER NOT NULL,
    concept_id INTEGER NOT NULL,
    category VARCHAR NOT NULL,
    prompts INTEGER NOT NULL,
    samples INTEGER NOT NULL,
    final_mean FLOAT NOT NULL, final_low FLOAT, final_high FLOAT,
    spearman_mean FLOAT, spearman_low FLOAT, spearman_high FLOAT,
    auc_mean FLOAT, auc_low FLOAT, auc_high FLOAT,
    emerged_share FLOAT NOT NULL,         -- share of samples that emerge
    emergence_median FLOAT, emergence_q1 FLOAT, emergence_q3 FLOAT,  -- over the samples that emerge
    predictable_from INTEGER,             -- first step from which r_final >= 0.9 stays; NULL if never
    seed_noise FLOAT                      -- pooled sd over seeds of the final value; NULL with one seed
);

-- One row per (model, family, prompt): seeds averaged within a concept, then the family's concepts.
CREATE TABLE rollup_family (
    model_id INTEGER NOT NULL,
    family VARCHAR NOT NULL,
    prompt_id INTEGER NOT NULL,
    final FLOAT NOT NULL,
    auc FLOAT,
    emergence_step FLOAT                  -- over the concepts that emerge
);

-- Cells: moments over the prompts of one category ('' = those that have none), seeds averaged within a prompt first. Any
-- choice of categories is a sum of cells: of n, n mean, and (n - 1) sd^2 + n mean^2. named = over the prompts whose text
-- names the concept, else over all of them.

-- One row per (model, concept, category, named); named only for concepts that some prompt names, never for concept 0.
CREATE TABLE cell_curve (
    model_id INTEGER NOT NULL, concept_id INTEGER NOT NULL, category VARCHAR NOT NULL, named BOOLEAN NOT NULL,
    prompts INTEGER NOT NULL,
    samples INTEGER NOT NULL,
    mean DOUBLE[] NOT NULL,               -- similarity per step; cells' means differ by little
    sd FLOAT[] NOT NULL,                  -- over prompts; 0 for one prompt
    covariance FLOAT[] NOT NULL           -- over prompts, of each step with the last; 0 for one prompt
);

-- One row per (model_a < model_b, concept, category), and one the other way round where the models' steps differ in number:
-- the paired difference b minus a over shared prompts and seeds. Steps are matched as in correlation_model.
CREATE TABLE cell_pair (
    model_a INTEGER NOT NULL, model_b INTEGER NOT NULL, concept_id INTEGER NOT NULL, category VARCHAR NOT NULL,
    prompts INTEGER NOT NULL,
    mean FLOAT[] NOT NULL,                -- per step
    sd FLOAT[] NOT NULL,                  -- over prompts; 0 for one prompt
    win_rate FLOAT[] NOT NULL             -- share of prompts in which b is higher, ties counting half
);

-- One row per (model, concept, category, named): when trajectories emerge.
CREATE TABLE cell_emergence (
    model_id INTEGER NOT NULL, concept_id INTEGER NOT NULL, category VARCHAR NOT NULL, named BOOLEAN NOT NULL,
    prompts INTEGER NOT NULL,
    samples INTEGER NOT NULL,
    n INTEGER NOT NULL,                   -- prompts in which the concept emerges with some seed
    mean DOUBLE, sd DOUBLE,               -- of the emergence step over those prompts; sd NULL for fewer than 2
    steps INTEGER[] NOT NULL              -- samples that emerge at each step
);

-- One row per (model, family, category, named): when a family's concepts emerge; named = of these only those that the
-- prompt names. Concepts and seeds are averaged within a prompt first.
CREATE TABLE cell_family (
    model_id INTEGER NOT NULL, family VARCHAR NOT NULL, category VARCHAR NOT NULL, named BOOLEAN NOT NULL,
    prompts INTEGER NOT NULL,
    samples INTEGER NOT NULL,             -- (sample, concept) pairs
    n INTEGER NOT NULL,                   -- prompts in which some concept emerges
    mean DOUBLE, sd DOUBLE,               -- of the emergence step over those prompts; sd NULL for fewer than 2
    steps INTEGER[] NOT NULL,             -- (sample, concept) pairs that emerge at each step
    share DOUBLE[] NOT NULL,              -- per step, mean over prompts of the share that has emerged by then
    share_sd DOUBLE[] NOT NULL            -- over prompts; 0 for one prompt
);

-- One row per (model, step, concept_a < concept_b): correlation of their similarities over prompts.
CREATE TABLE correlation_concept (
    model_id INTEGER NOT NULL, step INTEGER NOT NULL, concept_a INTEGER NOT NULL, concept_b INTEGER NOT NULL,
    pearson FLOAT, prompts INTEGER NOT NULL
);

-- One row per (model_a < model_b, concept, step): correlation over shared (prompt, seed) pairs; steps matched by index
-- when both have the same number, by relative progress otherwise (step is then model_a's).
CREATE TABLE correlation_model (
    model_a INTEGER NOT NULL, model_b INTEGER NOT NULL, concept_id INTEGER NOT NULL, step INTEGER NOT NULL,
    pearson FLOAT, pairs INTEGER NOT NULL
);

-- One row per (sample, step) at the study's frame stride, first and last step always; sorted by (sample, step).
CREATE TABLE frame (
    sample_id BIGINT NOT NULL,
    step INTEGER NOT NULL,
    image BLOB NOT NULL                   -- WebP of the decoded predicted clean image
);

-- One row per failed or retried item or unit that did not end well.
CREATE TABLE failure (
    model_id INTEGER NOT NULL,
    prompt_id INTEGER NOT NULL,
    seed BIGINT NOT NULL,
    stage VARCHAR NOT NULL,               -- load | sample | observe | explain
    error VARCHAR NOT NULL,
    tries INTEGER NOT NULL
);

-- One row per (sample, word, source, layer_group): what a word got at each step.
CREATE TABLE token_attention (
    sample_id BIGINT NOT NULL,
    model_id INTEGER NOT NULL,
    prompt_id INTEGER NOT NULL,
    word_index INTEGER NOT NULL,          -- place in the prompt; -1 = all special tokens together
    word VARCHAR NOT NULL,
    role VARCHAR NOT NULL,                -- subject | relation | object | attribute | '' | special
    source VARCHAR NOT NULL,              -- attention | relevance
    layer_group VARCHAR NOT NULL,         -- all | down | mid | up | blocks 0-2 | ...
    steps INTEGER[] NOT NULL,             -- the steps measured
    mass FLOAT[] NOT NULL,                -- share of attention among the prompt's words (special: share of all); relevance: raw score
    scaled FLOAT[],                       -- relevance min-max scaled over the prompt's words within a step; else NULL
    entropy FLOAT[]                       -- of the word's map over space, 0..1 (normalised); relevance: NULL
);

-- One row per (sample, step, method, word): a saliency map.
CREATE TABLE explanation (
    sample_id BIGINT NOT NULL,
    step INTEGER NOT NULL,
    method VARCHAR NOT NULL,              -- df-rise | df-cam | lime | attention | relevance | random
    word VARCHAR NOT NULL,                -- '' for maps of the whole prediction
    height INTEGER NOT NULL,
    width INTEGER NOT NULL,
    low FLOAT NOT NULL, high FLOAT NOT NULL,  -- range before min-max scaling
    map BLOB NOT NULL                     -- float16, row-major, min-max scaled to 0..1
);

-- One row per (sample, step, method, game, score): an insertion or deletion curve.
CREATE TABLE faithfulness (
    sample_id BIGINT NOT NULL, model_id INTEGER NOT NULL, prompt_id INTEGER NOT NULL,
    step INTEGER NOT NULL,
    method VARCHAR NOT NULL,
    game VARCHAR NOT NULL,                -- insertion | deletion
    score VARCHAR NOT NULL,               -- clip | structure | fid
    curve FLOAT[] NOT NULL,               -- h + 1 points over the fraction of pixels 0..1
    auc FLOAT NOT NULL,
    auc_scaled FLOAT,                     -- of the min-max scaled curve
    auc_random FLOAT, auc_inverse FLOAT   -- the same game with a random and with the inverse map
);

-- One row per (sample, step, pair of methods).
CREATE TABLE agreement (
    sample_id BIGINT NOT NULL, model_id INTEGER NOT NULL, prompt_id INTEGER NOT NULL,
    step INTEGER NOT NULL, method_a VARCHAR NOT NULL, method_b VARCHAR NOT NULL,
    spearman FLOAT, iou FLOAT             -- IoU of the top 20 % of pixels
);

-- One row per (model, scene, step, method, word): a map against the known mask of an object.
CREATE TABLE localisation (
    model_id INTEGER NOT NULL, scene INTEGER NOT NULL, step INTEGER NOT NULL,
    method VARCHAR NOT NULL, word VARCHAR NOT NULL,
    pointing FLOAT NOT NULL, iou FLOAT NOT NULL, average_precision FLOAT NOT NULL,
    mask_share FLOAT NOT NULL             -- share of the image the mask covers = a random map's average precision
);

-- One row per (model, method, step, randomised layers): similarity of the map to that of the trained model.
CREATE TABLE randomisation (
    model_id INTEGER NOT NULL, method VARCHAR NOT NULL, step INTEGER NOT NULL,
    layers VARCHAR NOT NULL, share FLOAT NOT NULL,   -- cumulative share of the weights randomised, 0..1
    spearman FLOAT, samples INTEGER NOT NULL
);

-- One row per (sample, band): share of the radial power spectrum of the predicted clean image per step; bands sum to 1.
CREATE TABLE spectrum (
    sample_id BIGINT NOT NULL, model_id INTEGER NOT NULL, prompt_id INTEGER NOT NULL,
    band INTEGER NOT NULL,                -- 0 = lowest frequencies
    low DOUBLE NOT NULL, high DOUBLE NOT NULL,  -- cycles per pixel
    power FLOAT[] NOT NULL                -- log10 of the mean power in the band, per step
);

-- One row per sample: its CLIP embeddings over the steps on the study's two principal components.
CREATE TABLE path (
    sample_id BIGINT NOT NULL, model_id INTEGER NOT NULL, prompt_id INTEGER NOT NULL, seed BIGINT NOT NULL,
    x FLOAT[] NOT NULL, y FLOAT[] NOT NULL
);
-- One row per principal component of `path`.
CREATE TABLE projection (component INTEGER NOT NULL, explained_variance FLOAT NOT NULL, direction FLOAT[] NOT NULL, mean FLOAT[] NOT NULL);
