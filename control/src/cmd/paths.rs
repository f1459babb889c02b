//! `ares paths`: over which network paths the daemon moves its bytes. A part of its status.

use serde_json::{Value, json};

use super::{Context, unexpected};
use crate::admin::proto::{Outcome, Request};
use crate::error::Failure;
use crate::render;
use crate::session::Session;

pub(super) fn run(context: &Context) -> Result<(), Failure> {
    let mut daemon = Session::attach(&context.config)?;
    match daemon.run(&Request::Status, &*context.sink(), &context.cancel)? {
        Outcome::Status { status } => {
            let paths = all_paths(&status);
            context.print(&render::paths(&paths), &json!({ "paths": paths }))
        }
        other => Err(unexpected(&other)),
    }
}

/// One object a path, with its peer.
fn all_paths(status: &Value) -> Vec<Value> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let of_peer = |peer: Value| {
        list(&peer["paths"]).into_iter().map(move |mut path| {
            if let Value::Object(fields) = &mut path {
                fields.insert("peer".into(), peer["peer"].clone());
            }
            path
        })
    };
    list(&status["peers"]).into_iter().flat_map(of_peer).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_path_is_told_with_its_peer() {
        let status = json!({"peers": [
            {"peer": "aa", "paths": [{"path": 1}, {"path": 2}]},
            {"peer": "bb", "paths": [{"path": 3}]},
            {"peer": "cc", "paths": []},
        ]});
        let expect = [
            json!({"peer": "aa", "path": 1}),
            json!({"peer": "aa", "path": 2}),
            json!({"peer": "bb", "path": 3}),
        ];
        assert_eq!(all_paths(&status), expect);
        assert_eq!(all_paths(&Value::Null), Vec::<Value>::new());
    }
}
