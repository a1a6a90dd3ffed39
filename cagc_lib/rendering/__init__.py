"""The drawing behind `cagc_lib.portraits`: a painter, an anatomy, and one file per layer."""
