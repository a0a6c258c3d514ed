//! Adds 100.

versions::adds!(100.0);
