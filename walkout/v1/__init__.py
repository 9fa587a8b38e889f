"""Generated from protos/walkout/v1 by ``make protos``; never edited by hand."""
