//! What a hostile or broken sandbox sends is refused whole: nothing of the user's changes, nothing
//! runs, and the next good bundle arrives.

mod applied;
mod fsck;
mod landed;
mod lfs;
mod odd;
mod old;
mod refused;
mod world;
