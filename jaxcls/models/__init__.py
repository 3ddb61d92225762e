"""Models: two families (decoder, encoder) and one thin file per architecture."""
