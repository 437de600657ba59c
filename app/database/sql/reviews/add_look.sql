-- Keeps that a gate was looked at.
INSERT INTO look VALUES ($gate, $number, $looked_at, $prompts, $most, $shape, $snapshot, $content_hash, $verdict)
