//! Peers that no link names: whoever made the release is gone, and somebody else who has it is found.

use std::path::{Path, PathBuf};

use ares_tests::{Daemon, Lab, Node, compare, daemon, tree};

/// A file, its link, and the machine that has it now: the publisher, whom the link names, has stopped.
struct Orphan {
    file: PathBuf,
    link: String,
}

impl Orphan {
    /// Published on `publisher` and brought to `holder`.
    fn new(publisher: &Node, holder: &Node, seed: u64) -> Self {
        let file = publisher.dir().join("file");
        tree::big_file(&file, 8 << 20, seed);
        let server = Daemon::serve(publisher);
        let link = server.publish(&file).link;
        let brought = holder.run(daemon::get(holder, &link, &holder.dir().join("file")));
        brought.expect_ok();
        server.terminate().expect_ok();
        Self { file, link }
    }

    /// Brings it to a reader, where nobody else serves it.
    fn bring(&self, reader: &Node, holder: &Daemon) {
        let copy: &Path = &reader.dir().join("copy");
        reader.run(daemon::get(reader, &self.link, copy)).expect_ok();
        compare::assert_same(&self.file, copy);
        assert!(holder.counter("served_bytes") >= 8 << 20, "all of it came from the holder");
    }

    /// As somebody who knows of nobody but the publisher: to no avail.
    fn miss(&self, reader: &Node) {
        let reader = reader.with_config("hasty", "[node]\ndial_timeout = \"300ms\"\n");
        let missed = reader.run(daemon::get(&reader, &self.link, &reader.dir().join("missed")));
        assert_eq!(missed.status.code(), Some(4), "{}", missed.stderr);
    }
}

#[test]
fn a_peer_on_the_local_network_is_found_when_the_publisher_is_gone() {
    let Some(lab) = Lab::new("mdns", 3) else { return };
    let [publisher, holder, reader] = [0, 1, 2].map(|i| lab.node(i));
    let orphan = Orphan::new(publisher, holder, 91);
    let server = Daemon::serve(&holder.with_mdns());
    orphan.miss(reader);
    orphan.bring(&reader.with_mdns(), &server);
}

#[test]
fn a_seed_is_asked_when_the_publisher_is_gone() {
    let Some(lab) = Lab::new("seeds", 3) else { return };
    let [publisher, holder, reader] = [0, 1, 2].map(|i| lab.node(i));
    let orphan = Orphan::new(publisher, holder, 92);
    let server = Daemon::serve(holder);
    orphan.miss(reader);
    let status = server.status();
    let peer = status["peer"].as_str().expect("status names the peer");
    let seeds = format!("[swarm]\nseeds = [\"{peer}@{}\"]\n", holder.listen());
    orphan.bring(&reader.with_config("seeds", &seeds), &server);
}
