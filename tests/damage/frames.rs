//! Frames of the log that are gone, or in each other's place: each that counts, in turn.

use crate::harm::{harm_frames, newest_frames};
use crate::made::Made;
use crate::trials::trial;

#[tokio::test(flavor = "current_thread")]
async fn a_frame_that_is_gone_takes_no_more_with_it_than_was_in_it() {
    let made = Made::new(16, 10, 3).await;
    for frame in newest_frames(&made) {
        trial(&made, &harm_frames(&made, frame, frame), &format!("frame {frame} zeroed")).await;
    }
}

#[tokio::test(flavor = "current_thread")]
async fn frames_in_each_others_place_are_read_as_they_were() {
    let made = Made::new(16, 10, 3).await;
    let frames = newest_frames(&made);
    for (at, one) in frames.iter().enumerate() {
        let other = frames[(at + frames.len() / 2) % frames.len()].saturating_sub(1);
        if *one == other {
            continue;
        }
        let mut harmed = harm_frames(&made, *one, other);
        // The last commit is found again too, wherever its frames are.
        harmed.touched.clear();
        let score = trial(&made, &harmed, &format!("frames {one} and {other} swapped")).await;
        assert_eq!(score.saved, score.untouched, "frames {one} and {other} swapped");
    }
}
