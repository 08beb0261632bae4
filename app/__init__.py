"""SonoSeek: find the labelled ultrasound images that look most like this one."""
