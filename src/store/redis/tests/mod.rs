//! Against real servers, and peers that say what no real server can be made to say.
