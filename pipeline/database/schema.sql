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
    source VARCHAR NOT NULL,              -- folder or Hub id; with adapters "SOURCE + ADAPTER (WEIGHT) + ..."
    revision VARCHAR NOT NULL,            -- Hub revision or hash of the folder; with adapters that of each, joined by " + "
    pipeline VARCHAR NOT NULL,            -- diffusers class
    family VARCHAR NOT NULL,              -- "unet", "mmdit", "unknown", ...
    prediction_type VARCHAR NOT NULL,     -- epsilon, v_prediction, sample, flow
    scheduler VARCHAR NOT NULL,
    schedule VARCHAR NOT NULL,            -- default, uniform, early, late, karras, ...
    gamma DOUBLE,                         -- of exponential timestep sampling, else NULL
    steps INTEGER NOT NULL,               -- denoising steps asked for
    guidance DOUBLE,                      -- classifier-free guidance scale; NULL = off
    dtype VARCHAR NOT NULL,
    parameters BIGINT NOT NULL,           -- of the denoiser
    run VARCHAR,                          -- the training run that it is a checkpoint of, else NULL
    training_step BIGINT,                 -- of that run, else NULL
    -- What a trial of two steps showed before the run (docs/methods.md, "The trial"). NULL: images that exist, or run by an
    -- older version.
    x0_levels DOUBLE,                     -- mean difference of the last predicted clean image from the final image, levels of 255
    same_bits BOOLEAN,                    -- the image with recording is that without, to the bit; NULL: two plain ones differ
    replay_difference DOUBLE              -- of a replayed denoiser call from the captured one, share of its largest value; NULL: unknown class
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
    peak_memory BIGINT,                   -- bytes, the most since the model was loaded, up to this sample; NULL = not recorded
    memory_kind VARCHAR,                  -- what that counts: allocator | process | lifetime (docs/methods.md); NULL = not recorded
    clip_score FLOAT,                     -- cosine of the final image and the prompt; NULL when failed
    width INTEGER NOT NULL,
    height INTEGER NOT NULL,
    image BLOB                            -- final image: lossless WebP, or (images that exist) a PNG, JPEG or WebP without metadata; NULL when failed
);

-- One row per (model, denoiser call): where on the noise schedule the step stands. Both calls of a second-order step count.
CREATE TABLE step (
    model_id INTEGER NOT NULL,
    step INTEGER NOT NULL,
    timestep DOUBLE NOT NULL,             -- the value the scheduler really used
    alpha DOUBLE NOT NULL,                -- x = alpha x0 + sigma eps
    sigma DOUBLE NOT NULL,
    log_snr DOUBLE NOT NULL,              -- ln(alpha^2 / sigma^2), clipped to -60 (pure noise) .. 60 (no noise)
    axis_log_snr DOUBLE NOT NULL,         -- the same for axes and means: a clipped end stands one step's distance beyond its neighbour
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
    auc FLOAT,                            -- area under the min-max scaled curve, 0..1; high = early only where rise > 0; NULL if constant
    emergence_step INTEGER,               -- first step from which the concept stays present (table contrast); 0 = from the start;
                                          -- NULL when never, or not known
    crossing FLOAT,                       -- where it emerges between the step before (0) and emergence_step (1), interpolated; else NULL
    outcome VARCHAR                       -- start | emerges | never; NULL for concept 0, and where contrast.threshold is NULL
);

-- One row per (model, concept but 0): what presence is judged by. The contrast of a (prompt, seed) is its similarity minus
-- the baseline (for a prompt that does not name the concept: minus the mean of the other such prompts). The concept is
-- present at a step where the contrast is above the threshold: by chance in 5 % of samples without the concept.
CREATE TABLE contrast (
    model_id INTEGER NOT NULL,
    concept_id INTEGER NOT NULL,
    unnamed INTEGER NOT NULL,             -- prompts that do not name the concept
    baseline FLOAT[],                     -- per step, mean similarity over them, seeds averaged; NULL for fewer than 19
    threshold FLOAT[]                     -- per step, 95th percentile (rank 0.95 (n + 1)) of their contrasts; NULL for fewer than 19
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
    emergence_step FLOAT                  -- restricted: mean over seeds, 0 = from the start, the last step for never; NULL if unknown
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
    naming INTEGER NOT NULL,              -- prompts that name the concept (concept 0: all); what follows is over these
    start_share FLOAT, emerges_share FLOAT, never_share FLOAT,  -- of the outcomes, prompts the unit; sum to 1; NULL if unknown
    emergence_mean FLOAT, emergence_low FLOAT, emergence_high FLOAT,  -- Kaplan-Meier restricted mean in steps; interval over prompts
    predictable_from INTEGER,             -- first step from which the correlation over prompts with the final value stays >= 0.9
    predictable_over_seeds INTEGER,       -- the same over seeds within a prompt, prompt means removed; NULL with one seed
    seed_noise FLOAT                      -- pooled sd over seeds of the final value; NULL with one seed
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
    covariance FLOAT[] NOT NULL,          -- over prompts, of each step with the last; 0 for one prompt
    seed_square DOUBLE[] NOT NULL,        -- sum of squared deviations of samples from their prompt's mean; 0 with one seed
    seed_product DOUBLE[] NOT NULL        -- sum of the products of those deviations with the last step's
);

-- One row per (model_a < model_b, concept, category, named), and one the other way round where the models' noise levels
-- differ: the paired difference b minus a over shared prompts and seeds, at the log-SNR of a's steps, to which b's curves are
-- interpolated; NULL at steps beyond b's noise levels. named as in cell_curve.
CREATE TABLE cell_pair (
    model_a INTEGER NOT NULL, model_b INTEGER NOT NULL, concept_id INTEGER NOT NULL, category VARCHAR NOT NULL,
    named BOOLEAN NOT NULL,
    prompts INTEGER NOT NULL,
    mean FLOAT[] NOT NULL,                -- per step
    sd FLOAT[] NOT NULL,                  -- over prompts; 0 for one prompt
    win_rate FLOAT[] NOT NULL             -- share of prompts in which b is higher, ties counting half
);

-- One row per (model, step, concept_a < concept_b): correlation of their similarities over prompts.
CREATE TABLE correlation_concept (
    model_id INTEGER NOT NULL, step INTEGER NOT NULL, concept_a INTEGER NOT NULL, concept_b INTEGER NOT NULL,
    pearson FLOAT, prompts INTEGER NOT NULL
);

-- One row per (model_a < model_b, concept, step): correlation over shared (prompt, seed) pairs at the log-SNR of model_a's
-- step, to which model_b's curves are interpolated; NULL beyond model_b's noise levels.
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
    method VARCHAR NOT NULL,              -- df-rise | df-cam | lime | attention | relevance | random | concept-attention
    word VARCHAR NOT NULL,                -- '' for maps of the whole prediction; of concept-attention family/name
    height INTEGER NOT NULL,
    width INTEGER NOT NULL,
    low FLOAT NOT NULL, high FLOAT NOT NULL,  -- range before min-max scaling
    map BLOB NOT NULL                     -- float16, row-major, min-max scaled to 0..1
);

-- One row per (sample, step, method, game, score, baseline): an insertion or deletion curve.
CREATE TABLE faithfulness (
    sample_id BIGINT NOT NULL, model_id INTEGER NOT NULL, prompt_id INTEGER NOT NULL,
    step INTEGER NOT NULL,
    method VARCHAR NOT NULL,
    game VARCHAR NOT NULL,                -- insertion | deletion
    score VARCHAR NOT NULL,               -- clip | structure | inception (a distance); fid in older studies: a distance of CLIP vectors
    baseline VARCHAR NOT NULL,            -- what stands in removed positions: zero | re-noised | resampled
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

-- One row per (model, scene, step, method, word, layer): a map against the known mask of an object.
CREATE TABLE localisation (
    model_id INTEGER NOT NULL, scene INTEGER NOT NULL, step INTEGER NOT NULL,
    method VARCHAR NOT NULL, word VARCHAR NOT NULL,
    layer VARCHAR NOT NULL,               -- the layer of the denoiser whose map it is; all = the mean over layers, and of tools that look at none
    pointing FLOAT NOT NULL, iou FLOAT NOT NULL, average_precision FLOAT NOT NULL,
    mask_share FLOAT NOT NULL             -- share of the image the mask covers = a random map's average precision
);

-- One row per (model, method, step, randomised layers): similarity of the map to that of the trained model.
CREATE TABLE randomisation (
    model_id INTEGER NOT NULL, method VARCHAR NOT NULL, step INTEGER NOT NULL,
    layers VARCHAR NOT NULL, share FLOAT NOT NULL,   -- cumulative share of the weights randomised, 0..1
    spearman FLOAT, samples INTEGER NOT NULL
);

-- One row per (sample, band): the radial power spectrum of the predicted clean image per step.
CREATE TABLE spectrum (
    sample_id BIGINT NOT NULL, model_id INTEGER NOT NULL, prompt_id INTEGER NOT NULL,
    band INTEGER NOT NULL,                -- 0 = lowest frequencies
    low DOUBLE NOT NULL, high DOUBLE NOT NULL,  -- cycles per pixel
    power FLOAT[] NOT NULL                -- log10 of the mean power in the band, per step
);

-- One row per (sample, pair of prompts, direction, step, concept): one image of a prompt switch, and whether it has the concept.
-- insert: sampled from the base until the step, from the sample's prompt from there on; remove: the other way round. At step 0
-- the image is that of the second prompt, at step = number of steps that of the first.
CREATE TABLE switch (
    sample_id BIGINT NOT NULL, model_id INTEGER NOT NULL, prompt_id INTEGER NOT NULL,
    base VARCHAR NOT NULL,                -- the prompt without the concept; untrusted text
    differs VARCHAR NOT NULL,             -- what the pair differs in, as the study's column base_NAME says; '' where unnamed
    concept VARCHAR NOT NULL,             -- family/name of a concept that the sample's prompt names and the base does not; '' = none
    direction VARCHAR NOT NULL,           -- insert | remove
    step INTEGER NOT NULL,                -- the first step with the second prompt, 0 .. number of steps
    similarity FLOAT,                     -- cosine of the image and the concept; NULL without a concept
    preference FLOAT NOT NULL,            -- cosine with the sample's prompt minus cosine with the base
    judged FLOAT                          -- 1 = the judge sees what the sample's prompt says, 0 = not; NULL without a judge
);

-- One row per (sample, base, direction, step): the image of a switch.
CREATE TABLE switch_image (
    sample_id BIGINT NOT NULL,
    base VARCHAR NOT NULL,
    direction VARCHAR NOT NULL,
    step INTEGER NOT NULL,
    image BLOB NOT NULL                   -- WebP
);

-- One row per (sample, step, family): how many images drawn anew from the finished one, noised to the level of the step, keep its attribute.
CREATE TABLE redraw (
    sample_id BIGINT NOT NULL, model_id INTEGER NOT NULL, prompt_id INTEGER NOT NULL,
    step INTEGER NOT NULL,                -- the first step that is denoised again, 1 .. number of steps - 1
    family VARCHAR NOT NULL,              -- of concepts, or an attribute that only the judge reads
    redraws INTEGER NOT NULL,             -- images drawn anew
    kept INTEGER,                         -- of which the scorer's nearest concept of the family is that of the finished image; NULL = the bank has no two
    judged INTEGER                        -- of which the judge reads the same as off the finished image; NULL = it does not know, or there is none
);

-- One row per (sample, concept, layer_group): ConceptAttention (docs/methods.md), the concept's share of the image at each step.
CREATE TABLE concept_attention (
    sample_id BIGINT NOT NULL, model_id INTEGER NOT NULL, prompt_id INTEGER NOT NULL,
    concept VARCHAR NOT NULL,             -- family/name of a concept of the bank, also of one that the prompt does not name
    layer_group VARCHAR NOT NULL,         -- all | down | mid | up | blocks 0-2 | ...
    steps INTEGER[] NOT NULL,             -- the steps measured
    share FLOAT[] NOT NULL,               -- mean over the image of the concept's map, 0..1: the concepts of a softmax sum to 1
    peak FLOAT[] NOT NULL                 -- highest value of the map, 0..1
);

-- One row per (sample, word): what the word tells the denoiser of the finished image (docs/methods.md, "Information per word"),
-- from two predictions a noise level, of the whole prompt and of the prompt without the word. Nats are summed over all latents.
CREATE TABLE information (
    sample_id BIGINT NOT NULL, model_id INTEGER NOT NULL, prompt_id INTEGER NOT NULL,
    word_index INTEGER NOT NULL,          -- place in the prompt, 0 = the first word
    word VARCHAR NOT NULL,                -- that was left out
    role VARCHAR NOT NULL,                -- subject | relation | object | attribute | ''
    steps INTEGER[] NOT NULL,             -- whose noise levels were measured: all asked for with a finite log-SNR
    density FLOAT[] NOT NULL,             -- per step, >= 0: half the squared difference of the two noise predictions; nats per unit of log-SNR
    signed FLOAT[] NOT NULL,              -- per step: half of how much better the noise is predicted with the word; nats per unit of log-SNR
    nats FLOAT,                           -- the integral of density over log-SNR, >= 0; NULL with fewer than two levels
    signed_nats FLOAT,                    -- that of signed
    effect FLOAT NOT NULL,                -- cosine with the whole prompt: of the image minus of the one sampled without the word
    change FLOAT NOT NULL,                -- 1 minus the cosine of the two images
    height INTEGER, width INTEGER,        -- of the map; NULL where maps are not stored
    low FLOAT, high FLOAT,                -- range before min-max scaling, in nats per position of the latents
    map BLOB                              -- the integral per position: float16, row-major, min-max scaled to 0..1
);

-- One row per sample: its CLIP embeddings over the steps on the study's two principal components.
CREATE TABLE path (
    sample_id BIGINT NOT NULL, model_id INTEGER NOT NULL, prompt_id INTEGER NOT NULL, seed BIGINT NOT NULL,
    x FLOAT[] NOT NULL, y FLOAT[] NOT NULL
);
-- One row per principal component of `path`.
CREATE TABLE projection (component INTEGER NOT NULL, explained_variance FLOAT NOT NULL, direction FLOAT[] NOT NULL, mean FLOAT[] NOT NULL);

-- One row per score of images that another program computed and `scores add` put beside the shards. All texts are untrusted.
CREATE TABLE metric (
    metric_id INTEGER PRIMARY KEY,        -- 1.. in the order in which they were added
    name VARCHAR NOT NULL UNIQUE,         -- what commands call it; links take the title
    title VARCHAR NOT NULL UNIQUE,        -- what a chart shows
    lower_is_better BOOLEAN NOT NULL,
    low DOUBLE, high DOUBLE,              -- its range; NULL = not bounded, or not stated
    source VARCHAR NOT NULL,              -- the scorer: program, model, version
    preprocessing VARCHAR NOT NULL,       -- how images and texts were prepared; '' = not stated
    level VARCHAR NOT NULL,               -- image | prompt (of all seeds together) | step
    sha256 VARCHAR NOT NULL,              -- of the file that holds its values
    added_at VARCHAR NOT NULL,            -- UTC, ISO 8601
    unused BIGINT NOT NULL                -- values of samples that are not done in this snapshot
);

-- One row per (sample, metric); of a metric per prompt, one row per (model, prompt, metric), without sample and seed.
CREATE TABLE score (
    metric_id INTEGER NOT NULL,
    sample_id BIGINT,
    model_id INTEGER NOT NULL,
    prompt_id INTEGER NOT NULL,
    seed BIGINT,
    value DOUBLE NOT NULL,                -- in the metric's own unit; of a metric per step, that of its last step
    steps INTEGER[],                      -- of a metric per step: the steps scored, in order; else NULL
    step_values DOUBLE[]                  -- their values
);

-- One row per (model, measure, reference, extractor): a measure of all final images of a model, computed by `scores sets --save`.
CREATE TABLE image_set (
    model_id INTEGER NOT NULL,
    measure VARCHAR NOT NULL,             -- vendi | kid | cmmd | fid | coverage (docs/methods.md, "Sets of images")
    lower_is_better BOOLEAN NOT NULL,
    value DOUBLE NOT NULL,
    low DOUBLE, high DOUBLE,              -- 95 % interval; NULL for fewer than 6 prompts
    images INTEGER NOT NULL,              -- of the model, all prompts and seeds
    prompts INTEGER NOT NULL,             -- that they are of
    reference_id INTEGER,                 -- model_id of the entry that the images are held against; NULL = none
    reference_images INTEGER NOT NULL,    -- of that entry; 0 where there is none
    extractor VARCHAR NOT NULL,           -- of what vectors: the scorer, or the program and model that computed the features
    method VARCHAR NOT NULL,              -- of the interval
    computed_at VARCHAR NOT NULL,         -- UTC, ISO 8601
    outdated BOOLEAN NOT NULL             -- whether an image of the model or the reference was added or changed since
);
