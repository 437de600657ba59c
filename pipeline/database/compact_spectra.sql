-- Leaves out of a copy of a snapshot the power spectra of further prompts. The variable spectrum_prompts: how many of the first prompts keep theirs.
DELETE FROM spectrum WHERE prompt_id > getvariable('spectrum_prompts');
