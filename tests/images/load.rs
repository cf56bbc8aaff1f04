//! Loading: every form of archive, and every way in which one can be wrong.
