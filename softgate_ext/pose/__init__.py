"""Arithmetic on the joints of one person: skeletons, crop geometry, codecs, metrics and drawing."""
