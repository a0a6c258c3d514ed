//! Adds 1000.

versions::adds!(1000.0);
