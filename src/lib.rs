//! high-templar
