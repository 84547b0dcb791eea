//! Native programs run on many threads: what a project does may go on in any of them.

use std::sync::Arc;
use sync::{Project, Start};
use testkit::TestHost;

fn is_send<T: Send>(_: &T) {}

#[test]
fn what_a_project_does_may_move_to_another_thread() {
    let project = Project::new(Arc::new(TestHost::new(&[])), "/nowhere", true, "/nowhere");
    let start = Start::default();
    is_send(&project);
    is_send(&project.pack("ses_1", &start));
    is_send(&project.abandon("ses_1"));
    is_send(&project.sweep());
}
