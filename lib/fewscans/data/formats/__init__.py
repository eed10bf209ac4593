"""Published file formats and layouts that several data sets share, and how images are cut from them."""
