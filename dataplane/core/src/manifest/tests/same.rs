//! Same tree, same hash; a small edit, a small difference.

use super::*;
use crate::limits::CHUNK_BYTES_MAX;

#[test]
fn a_published_tree_reads_back_as_it_was() {
    let check = |tree: Tree| {
        let (root, chunks) = publish(&tree);
        for ahead in [1, 2, 16] {
            assert!(read(&root, &chunks, ahead) == tree, "{:?} read {ahead} ahead", root.release());
        }
    };
    check(dir([]));
    check(dir([("a", Tree::File(Vec::new()))]));
    check(dir([
        ("same", dir([("x", Tree::File(vec![1]))])),
        ("too", dir([("x", Tree::File(vec![1]))])),
    ]));
    check(big(1, 1));
    check(big(1, 8));
    check(big(1, 9));
    check(big(1, 5_000));
    check(mixed(1, 20, 50));
    check(mixed(2, 2, 1500));
    let mut deep = dir([]);
    for _ in 0..1000 {
        deep = dir([("d", deep)]);
    }
    check(deep);
}

#[test]
fn a_directory_of_100_000_entries_is_found_through_a_few_nodes() {
    let entries = (0..100_000)
        .map(|i| (format!("name-{i}").into_bytes(), Tree::File(b"12345".to_vec())))
        .collect();
    let (root, chunks) = publish(&Tree::Dir(entries));
    assert_eq!(root.totals().entries, 100_000);
    assert_eq!(root.totals().bytes, 500_000);
    for (inside, found) in [
        ("name-77777", true),
        ("name-0", true),
        ("name-", false),
        ("zzz", false),
        ("name-77777/x", false),
    ] {
        let mut lookup = Lookup::new(&root, inside.as_bytes());
        let mut nodes = 0;
        let end = loop {
            match lookup.poll() {
                LookupStep::Node(node) => {
                    nodes += 1;
                    lookup.on_node(chunks.get(&node)).unwrap();
                }
                end => break end,
            }
        };
        assert_eq!(matches!(end, LookupStep::Found(_)), found, "{inside}: {end:?}");
        assert!(nodes <= 3, "{nodes} nodes for {inside}");
    }
    let sizes: Vec<usize> = chunks.0.values().map(|c| c.bytes().len()).collect();
    let average = sizes.iter().sum::<usize>() / sizes.len();
    assert!((32 << 10..128 << 10).contains(&average), "nodes of {average} bytes");
    assert!(sizes.iter().all(|&size| size < 300 << 10));
}

#[test]
fn a_long_chunk_list_is_found_through_a_few_nodes() {
    let Tree::Big(list) = big(7, 100_000) else { unreachable!() };
    let (root, chunks) = publish(&Tree::Big(list.clone()));
    let Top::File {
        file: File {
            content: Content::List(top),
            bytes,
            ..
        },
        ..
    } = root.top
    else {
        panic!("{root:?}")
    };
    assert_eq!(list.iter().map(|c| u64::from(c.len)).sum::<u64>(), bytes);
    let mut start = 0;
    for (at, &expect) in list.iter().enumerate().step_by(997) {
        start = list[..at].iter().map(|c| u64::from(c.len)).sum::<u64>().max(start);
        for offset in [start, start + u64::from(expect.len) - 1] {
            let (mut node, mut base) = (top, 0);
            loop {
                match ListNode::parse(chunks.get(&node.node), &node)
                    .unwrap()
                    .at(offset - base)
                    .unwrap()
                {
                    ListSpan::Child { node: child, start } => (node, base) = (child, base + start),
                    ListSpan::Chunk { chunk, start: found } => {
                        assert_eq!((chunk, base + found), (expect, start));
                        break;
                    }
                }
            }
        }
    }
    assert_eq!(ListNode::parse(chunks.get(&top.node), &top).unwrap().at(bytes), None);
}

#[test]
fn packs_made_ahead_by_plan_give_the_same_directory() {
    // What import does: packs are planned from names and sizes, made on any thread in any order, and the directory is put together later.
    let Tree::Dir(top) = mixed(3, 1, 2000) else { unreachable!() };
    let Some(Tree::Dir(files)) = top.get(&b"dir-000"[..]) else {
        panic!()
    };
    let files: BTreeMap<&Vec<u8>, &Vec<u8>> = files
        .iter()
        .filter_map(|(k, v)| if let Tree::File(bytes) = v { Some((k, bytes)) } else { None })
        .collect();

    let mut expect = DirBuilder::new();
    let mut ignore = |_| ();
    for (key, bytes) in &files {
        expect
            .push_small(name(key), meta(0o600), Bytes::copy_from_slice(bytes), None, &mut ignore)
            .unwrap();
    }
    let expect = expect.finish(&mut ignore).unwrap();

    let mut planner = Planner::default();
    let mut plan: Vec<Vec<&Vec<u8>>> = vec![Vec::new()];
    for (key, bytes) in &files {
        let shape = Shape::File(bytes.len() as u64);
        if shape.is_packed() {
            plan.last_mut().unwrap().push(key);
        }
        if planner.push(&name(key), &meta(0o600), shape) != Cut::None {
            plan.push(Vec::new());
        }
    }
    let mut places = BTreeMap::new();
    for keys in plan.iter().rev().filter(|keys| !keys.is_empty()) {
        let whole: Vec<u8> = keys.iter().flat_map(|key| files[key].iter().copied()).collect();
        assert!(whole.len() <= CHUNK_BYTES_MAX as usize);
        let pack = ChunkRef {
            id: ChunkId::of(&whole),
            len: whole.len() as u32,
        };
        let mut offset = 0;
        for &key in keys {
            places.insert(key, Content::Packed { pack, offset });
            offset += files[key].len() as u32;
        }
    }
    let mut builder = DirBuilder::new();
    for (&key, &bytes) in &files {
        let content = places
            .get(key)
            .cloned()
            .unwrap_or_else(|| Content::Inline(bytes.clone().into()));
        let kind = EntryKind::File(File {
            bytes: bytes.len() as u64,
            content,
            b3: None,
        });
        builder
            .push(
                Entry {
                    name: name(key),
                    meta: meta(0o600),
                    kind,
                },
                &mut ignore,
            )
            .unwrap();
    }
    assert_eq!(builder.finish(&mut ignore).unwrap(), expect);
}

/// How many chunks of `new` are not in `old`.
fn fresh(new: &Chunks, old: &Chunks) -> usize {
    new.0.keys().filter(|id| !old.0.contains_key(id)).count()
}

#[test]
fn an_edit_moves_its_own_pack_and_the_nodes_above_it_and_nothing_else() {
    let tree = mixed(4, 30, 400);
    let (root, old) = publish(&tree);
    let edit = |edit: &dyn Fn(&mut Entries)| {
        let mut tree = tree.clone();
        let Tree::Dir(top) = &mut tree else { unreachable!() };
        let Some(Tree::Dir(entries)) = top.get_mut(&b"dir-015"[..]) else {
            panic!()
        };
        edit(entries);
        let (new_root, new) = publish(&tree);
        assert_ne!(new_root.release(), root.release());
        fresh(&new, &old)
    };
    assert!(old.0.len() > 150, "{} chunks", old.0.len());
    // Same size: one pack, its leaf, the directory's branch, the top, the root.
    let same_size = edit(&|entries| {
        let Some(Tree::File(bytes)) = entries.values_mut().find(|t| matches!(t, Tree::File(b) if b.len() > 600)) else {
            panic!()
        };
        bytes[5] ^= 1;
    });
    assert!(same_size <= 5, "{same_size} chunks moved");
    let grown = edit(&|entries| {
        let Some(Tree::File(bytes)) = entries.values_mut().find(|t| matches!(t, Tree::File(b) if b.len() > 600)) else {
            panic!()
        };
        bytes.extend_from_slice(&[1; 1000]);
    });
    assert!(grown <= 8, "{grown} chunks moved");
    let added = edit(&|entries| drop(entries.insert(b"file-00200.txt~".to_vec(), Tree::File(vec![1; 3000]))));
    assert!(added <= 8, "{added} chunks moved");
    let removed = edit(&|entries| drop(entries.remove(&b"file-00200.txt"[..])));
    assert!(removed <= 8, "{removed} chunks moved");
}

#[test]
fn an_edit_in_a_long_list_or_a_big_directory_leaves_most_nodes() {
    let Tree::Big(list) = big(9, 100_000) else { unreachable!() };
    let (_, old) = publish(&Tree::Big(list.clone()));
    let mut longer = list.clone();
    longer.insert(40_000, chunk_ref(u64::MAX));
    let (_, new) = publish(&Tree::Big(longer));
    assert!(old.0.len() > 40, "{} nodes", old.0.len());
    let moved = fresh(&new, &old);
    assert!(moved <= 8, "{moved} of {} nodes moved", new.0.len());

    let entries: BTreeMap<_, _> = (0..100_000)
        .map(|i| (format!("name-{i}").into_bytes(), Tree::File(b"12345".to_vec())))
        .collect();
    let (_, old) = publish(&Tree::Dir(entries.clone()));
    let mut more = entries;
    more.insert(b"name-5x".to_vec(), Tree::File(Vec::new()));
    let (_, new) = publish(&Tree::Dir(more));
    let moved = fresh(&new, &old);
    assert!(moved <= 8, "{moved} of {} nodes moved", new.0.len());
}

#[test]
fn a_directory_is_not_built_from_entries_out_of_order_or_out_of_form() {
    let mut ignore = |_| ();
    let mut builder = DirBuilder::new();
    let small = |builder: &mut DirBuilder, key: &[u8], size: usize| {
        builder
            .push_small(name(key), meta(0o644), vec![0; size].into(), None, &mut |_| ())
            .map_err(|e| e.to_string())
    };
    assert_eq!(small(&mut builder, b"b", 10), Ok(()));
    let order = "entry \"a\" cannot be published: \"a\" stands after \"b\": names must ascend and not repeat";
    assert_eq!(small(&mut builder, b"a", 10), Err(order.to_owned()));
    let twice = "entry \"b\" cannot be published: \"b\" stands after \"b\": names must ascend and not repeat";
    assert_eq!(small(&mut builder, b"b", 10), Err(twice.to_owned()));
    let large = "entry \"c\" cannot be published: the size of a file in this form is 65537, allowed is 513 to 65536";
    assert_eq!(small(&mut builder, b"c", 65_537), Err(large.to_owned()));
    let content = Content::Packed {
        pack: chunk_ref(1),
        offset: 7,
    };
    let kind = EntryKind::File(File {
        bytes: 1000,
        content,
        b3: None,
    });
    let astray = builder
        .push(
            Entry {
                name: name(b"d"),
                meta: meta(0),
                kind,
            },
            &mut ignore,
        )
        .unwrap_err()
        .to_string();
    assert_eq!(
        astray,
        "entry \"d\" cannot be published: a packed file that does not follow the one before it in its pack"
    );
    assert_eq!(small(&mut builder, b"e", 600), Ok(()));
    let whole = builder.finish(&mut ignore).unwrap();
    assert_eq!(
        whole.totals,
        Totals {
            bytes: 610,
            entries: 2,
            chunks: 1
        }
    );
}

#[test]
fn trees_keep_their_hash() {
    // Golden: where nodes and packs are split is part of what a release is. Another result needs another manifest version.
    let check = |tree: &Tree, expect: &str| assert_eq!(publish(tree).0.release().to_string(), expect);
    let names = (0..50_000)
        .map(|i| (format!("name-{i}").into_bytes(), Tree::File(b"12345".to_vec())))
        .collect();
    check(&dir([]), "805d1d4b8ab0ff5003efd99089ed8b2cbb8b7e26f3a49e09c19b3f39c0fe957b");
    check(
        &mixed(1, 20, 50),
        "1bdee3d2491e41f39fe10f5d8f227ca1afc612c0a10d412401cf23bb67ceda9f",
    );
    check(
        &mixed(10, 2, 1500),
        "d25c374136ea91bf36452871a080e432a737fe31710936b95e0373e8dc385197",
    );
    check(
        &Tree::Dir(names),
        "76fb3e087ac805e8aa3fd03f8c6dd30a516a5e41d83e8978419494cea61d502e",
    );
    check(
        &big(11, 8),
        "831edba16ab9c12dabcfb3576effa33bccbbb9fcf7a7913ad58b7ac613d3842d",
    );
    check(
        &big(12, 50_000),
        "05495c016f3b8848297b5647a5a0b42303aa69da5db5c30386d6bd427bd4ccb9",
    );
}
