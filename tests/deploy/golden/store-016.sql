BEGIN TRANSACTION;
CREATE TABLE accounts (
    scope TEXT NOT NULL,
    day INTEGER NOT NULL,
    reserved INTEGER NOT NULL,
    spent INTEGER NOT NULL, reserved_tokens INTEGER NOT NULL DEFAULT 0, spent_tokens INTEGER NOT NULL DEFAULT 0, granted INTEGER NOT NULL DEFAULT 0, granted_tokens INTEGER NOT NULL DEFAULT 0, most INTEGER, most_tokens INTEGER, warned INTEGER NOT NULL DEFAULT 0, question INTEGER,
    PRIMARY KEY (scope, day)
) STRICT, WITHOUT ROWID;
INSERT INTO "accounts" VALUES('agent:clerk',20833,0,300,0,0,0,0,NULL,NULL,0,NULL);
INSERT INTO "accounts" VALUES('fleet',20833,0,300,0,0,0,0,NULL,NULL,0,NULL);
CREATE TABLE attempts (
    task INTEGER NOT NULL,
    token INTEGER NOT NULL,
    node INTEGER,
    started_at INTEGER NOT NULL,
    ended_at INTEGER,
    outcome TEXT NOT NULL,
    error TEXT NOT NULL,
    ready_at INTEGER NOT NULL,
    PRIMARY KEY (task, token)
) STRICT, WITHOUT ROWID;
INSERT INTO "attempts" VALUES(1,1,1,1800000000000000,1800000000000000,'done','',1800000000000000);
INSERT INTO "attempts" VALUES(2,1,1,1800000000000000,1800000000000000,'fail','no luck',1800000000000000);
INSERT INTO "attempts" VALUES(3,1,1,1800000000000000,1800000000000000,'park','',1800000000000000);
INSERT INTO "attempts" VALUES(4,1,1,1800000000000000,1800000000000000,'park','',1800000000000000);
INSERT INTO "attempts" VALUES(5,1,1,1800000000000000,1800000000000000,'retry','busy',1800000000000000);
INSERT INTO "attempts" VALUES(6,1,1,1800000000000000,NULL,'','',1800000000000000);
CREATE TABLE audit (
    incarnation INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    at INTEGER NOT NULL,
    body TEXT NOT NULL,
    previous TEXT NOT NULL,
    digest TEXT NOT NULL,
    PRIMARY KEY (incarnation, seq)
) STRICT, WITHOUT ROWID;
INSERT INTO "audit" VALUES(1,1,1800000000000000,'{"actor":"ann","agent":"clerk","data":null,"event":21,"name":"task.cancelled","reason":"no","session":"task:7","task":7}','','cfaf9a4410af2a87e8fe0817cce9592d06dc7c5c8e3c9a66d5e8f7fe1b4252c0');
INSERT INTO "audit" VALUES(1,2,1800000000000000,'{"actor":"ann","agent":"sleeper","data":"{\"scope\":\"agent:sleeper\",\"flag\":\"paused\"}","event":31,"name":"flag.set","reason":"holidays","session":null,"task":null}','cfaf9a4410af2a87e8fe0817cce9592d06dc7c5c8e3c9a66d5e8f7fe1b4252c0','0a30536f7e3550abddc4925d4a44cfaf6c45f1cd53ec2accfed1bc10954cda19');
INSERT INTO "audit" VALUES(1,3,1800000000000000,'{"actor":"runtime","agent":"clerk","data":"{\"version\":\"1\"}","event":32,"name":"agent.loaded","reason":"","session":null,"task":null}','0a30536f7e3550abddc4925d4a44cfaf6c45f1cd53ec2accfed1bc10954cda19','7282a53a9a08fc29434ce5af3180342800e89b0f65c42634f836eeb0e05fe7b6');
CREATE TABLE begun (
    scope TEXT NOT NULL,
    seq INTEGER NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (scope, seq)
) STRICT, WITHOUT ROWID;
CREATE TABLE blob_uses (
    digest TEXT NOT NULL,
    task INTEGER NOT NULL,
    message INTEGER NOT NULL,
    PRIMARY KEY (digest, task, message)
) STRICT, WITHOUT ROWID;
INSERT INTO "blob_uses" VALUES('2d304e4f132328d498f99a1d276128e1228b2f920b108c7329a6265bcbaf8373',1,0);
INSERT INTO "blob_uses" VALUES('value',1,0);
CREATE TABLE blobs (
    digest TEXT PRIMARY KEY,
    used_at INTEGER NOT NULL,
    data BLOB NOT NULL
) STRICT;
INSERT INTO "blobs" VALUES('2d304e4f132328d498f99a1d276128e1228b2f920b108c7329a6265bcbaf8373',1800000000000000,X'596F752068656C702E');
CREATE TABLE breakers (
    name TEXT PRIMARY KEY,
    state TEXT NOT NULL,
    failures INTEGER NOT NULL,
    since_at INTEGER NOT NULL,
    until_at INTEGER NOT NULL,
    opened INTEGER NOT NULL,
    probe TEXT NOT NULL,
    reason TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE charges (
    id INTEGER PRIMARY KEY,
    at INTEGER NOT NULL,
    task INTEGER NOT NULL,
    agent TEXT NOT NULL,
    session TEXT NOT NULL,
    "trigger" TEXT NOT NULL,
    call INTEGER NOT NULL,
    provider TEXT NOT NULL,
    model TEXT NOT NULL,
    status INTEGER NOT NULL,
    input_tokens INTEGER NOT NULL,
    cached_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    usd_micros INTEGER,
    duration_ms REAL NOT NULL,
    error TEXT NOT NULL
) STRICT;
INSERT INTO "charges" VALUES(1,1800000000000000,1,'clerk','task:1','operator',1,'own','m',200,10,0,5,300,0.0,'');
CREATE TABLE dependencies (
    task INTEGER NOT NULL,
    after INTEGER NOT NULL, condition TEXT NOT NULL DEFAULT 'success', met INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (task, after)
) STRICT, WITHOUT ROWID;
INSERT INTO "dependencies" VALUES(9,8,'success',0);
CREATE TABLE events (
    id INTEGER PRIMARY KEY,
    at INTEGER NOT NULL,
    name TEXT NOT NULL,
    task INTEGER,
    agent TEXT,
    session TEXT,
    actor TEXT NOT NULL,
    reason TEXT NOT NULL,
    data TEXT
) STRICT;
INSERT INTO "events" VALUES(1,1800000000000000,'node.started',NULL,NULL,NULL,'runtime','','{"node":1,"pid":7,"version":"0.1.0"}');
INSERT INTO "events" VALUES(2,1800000000000000,'task.added',1,'clerk','task:1','runtime','',NULL);
INSERT INTO "events" VALUES(3,1800000000000000,'task.claimed',1,'clerk','task:1','runtime','','{"attempt":1,"node":1}');
INSERT INTO "events" VALUES(4,1800000000000000,'task.done',1,'clerk','task:1','runtime','',NULL);
INSERT INTO "events" VALUES(5,1800000000000000,'task.added',2,'clerk','task:2','runtime','',NULL);
INSERT INTO "events" VALUES(6,1800000000000000,'task.claimed',2,'clerk','task:2','runtime','','{"attempt":1,"node":1}');
INSERT INTO "events" VALUES(7,1800000000000000,'task.failed',2,'clerk','task:2','runtime','no luck','{"failures":1,"class":"permanent"}');
INSERT INTO "events" VALUES(8,1800000000000000,'task.added',3,'clerk','task:3','runtime','',NULL);
INSERT INTO "events" VALUES(9,1800000000000000,'task.claimed',3,'clerk','task:3','runtime','','{"attempt":1,"node":1}');
INSERT INTO "events" VALUES(10,1800000000000000,'question.asked',3,'clerk','task:3','clerk','','{"question":1,"kind":"approval"}');
INSERT INTO "events" VALUES(11,1800000000000000,'task.parked',3,'clerk','task:3','runtime','asks',NULL);
INSERT INTO "events" VALUES(12,1800000000000000,'task.added',4,'clerk','task:4','runtime','',NULL);
INSERT INTO "events" VALUES(13,1800000000000000,'task.claimed',4,'clerk','task:4','runtime','','{"attempt":1,"node":1}');
INSERT INTO "events" VALUES(14,1800000000000000,'task.parked',4,'clerk','task:4','runtime','later',NULL);
INSERT INTO "events" VALUES(15,1800000000000000,'task.added',5,'clerk','task:5','runtime','',NULL);
INSERT INTO "events" VALUES(16,1800000000000000,'task.claimed',5,'clerk','task:5','runtime','','{"attempt":1,"node":1}');
INSERT INTO "events" VALUES(17,1800000000000000,'task.retried',5,'clerk','task:5','runtime','busy','{"failures":1,"class":"transient","delay_s":600.0}');
INSERT INTO "events" VALUES(18,1800000000000000,'task.added',6,'clerk','task:6','runtime','',NULL);
INSERT INTO "events" VALUES(19,1800000000000000,'task.claimed',6,'clerk','task:6','runtime','','{"attempt":1,"node":1}');
INSERT INTO "events" VALUES(20,1800000000000000,'task.added',7,'clerk','task:7','runtime','',NULL);
INSERT INTO "events" VALUES(21,1800000000000000,'task.cancelled',7,'clerk','task:7','ann','no',NULL);
INSERT INTO "events" VALUES(22,1800000000000000,'task.added',8,'clerk','task:8','runtime','',NULL);
INSERT INTO "events" VALUES(23,1800000000000000,'task.added',9,'clerk','task:9','runtime','waits for T8',NULL);
INSERT INTO "events" VALUES(24,1800000000000000,'task.added',10,'clerk','task:10','runtime','nobody has the skills: sailing',NULL);
INSERT INTO "events" VALUES(25,1800000000000000,'task.added',11,'clerk','task:11','runtime','',NULL);
INSERT INTO "events" VALUES(26,1800000000000000,'message.appended',NULL,'clerk','main:clerk','bob@example.com','','{"message":1,"source":"channel"}');
INSERT INTO "events" VALUES(27,1800000000000000,'task.added',12,'clerk','main:clerk','bob@example.com','',NULL);
INSERT INTO "events" VALUES(28,1800000000000000,'schedule.added',NULL,'clerk',NULL,'runtime','','{"schedule":"heartbeat:clerk:heartbeat","rule":{"every":"15m","timezone":"Europe/Zurich","misfire":"skip","active":"07:00-20:00"},"changed":false}');
INSERT INTO "events" VALUES(29,1800000000000000,'heartbeat.fired',NULL,'clerk',NULL,'runtime','','{"schedule":"heartbeat:clerk:heartbeat","nominal_at":1800000000000000}');
INSERT INTO "events" VALUES(30,1800000000000000,'heartbeat.skipped',NULL,'clerk',NULL,'runtime','nothing to do','{"schedule":"heartbeat:clerk:heartbeat","heartbeat":"heartbeat","nominal_at":1800000900000000}');
INSERT INTO "events" VALUES(31,1800000000000000,'flag.set',NULL,'sleeper',NULL,'ann','holidays','{"scope":"agent:sleeper","flag":"paused"}');
INSERT INTO "events" VALUES(32,1800000000000000,'agent.loaded',NULL,'clerk',NULL,'runtime','','{"version":"1"}');
CREATE TABLE fires (
    schedule TEXT NOT NULL,
    nominal_at INTEGER NOT NULL,
    PRIMARY KEY (schedule, nominal_at)
) STRICT, WITHOUT ROWID;
INSERT INTO "fires" VALUES('heartbeat:clerk:heartbeat',1800000000000000);
CREATE TABLE flags (
    scope TEXT NOT NULL,
    name TEXT NOT NULL,
    at INTEGER NOT NULL,
    actor TEXT NOT NULL,
    reason TEXT NOT NULL,
    PRIMARY KEY (scope, name)
) STRICT, WITHOUT ROWID;
INSERT INTO "flags" VALUES('agent:sleeper','paused',1800000000000000,'ann','holidays');
CREATE TABLE messages (
    id INTEGER PRIMARY KEY,
    session TEXT NOT NULL,
    at INTEGER NOT NULL,
    client_id TEXT,
    body TEXT NOT NULL
) STRICT;
INSERT INTO "messages" VALUES(1,'main:clerk',1800000000000000,NULL,'{"source":"channel","text":"hello","sender":"bob@example.com","trust":"external"}');
CREATE TABLE nodes (
    id INTEGER PRIMARY KEY,
    pid INTEGER NOT NULL,
    host TEXT NOT NULL,
    version TEXT NOT NULL,
    boot TEXT NOT NULL,
    started_at INTEGER NOT NULL,
    ended_at INTEGER,
    clean INTEGER NOT NULL,
    lease_until INTEGER NOT NULL
, pools TEXT NOT NULL DEFAULT '["*"]') STRICT;
INSERT INTO "nodes" VALUES(1,7,'machine.example','0.1.0','another boot',1800000000000000,NULL,0,37093057562,'["*"]');
CREATE TABLE permissions (
    id INTEGER PRIMARY KEY,
    agent TEXT NOT NULL,
    added_at INTEGER NOT NULL,
    body TEXT NOT NULL,
    revoked_at INTEGER,
    revoked_by TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE TABLE pins (
    name TEXT PRIMARY KEY,
    digest TEXT NOT NULL,
    text TEXT NOT NULL,
    accepted_at INTEGER NOT NULL,
    accepted_by TEXT NOT NULL DEFAULT '',
    seen_digest TEXT NOT NULL,
    seen_text TEXT NOT NULL,
    seen_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE placements (
    agent TEXT PRIMARY KEY,
    pool TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE questions (
    id INTEGER PRIMARY KEY,
    kind TEXT NOT NULL,
    state TEXT NOT NULL,
    agent TEXT NOT NULL,
    task INTEGER NOT NULL,
    session TEXT NOT NULL,
    call_id TEXT NOT NULL,
    stored INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER,
    decided_at INTEGER,
    decided_by TEXT NOT NULL,
    reminded_at INTEGER,
    answer TEXT NOT NULL,
    arguments TEXT,
    body TEXT NOT NULL
, bound TEXT, ask_again_at INTEGER) STRICT;
INSERT INTO "questions" VALUES(1,'approval','pending','clerk',3,'task:3','1.0',0,1800000000000000,NULL,NULL,'',NULL,'',NULL,'{"kind":"approval","text":"May I?","agent":"clerk","task":3,"session":"task:3","call_id":"1.0","action":{"tool":"message.send","arguments":{"to":"mail:a@example.com"},"agent":"clerk"}}',NULL,NULL);
CREATE TABLE schedules (
    name TEXT PRIMARY KEY,
    agent TEXT NOT NULL,
    rule TEXT NOT NULL,
    text TEXT NOT NULL,
    session TEXT NOT NULL,
    model TEXT,
    source TEXT NOT NULL,
    last_at INTEGER,
    next_at INTEGER,
    skips_in_row INTEGER NOT NULL,
    skip_run INTEGER
, effort TEXT, retry TEXT, deliver TEXT, fired_at INTEGER) STRICT;
INSERT INTO "schedules" VALUES('heartbeat:clerk:heartbeat','clerk','{"every":"15m","timezone":"Europe/Zurich","misfire":"skip","active":"07:00-20:00"}','','main',NULL,'file',1800000900000000,1800001800000000,1,1,NULL,NULL,NULL,1800000000000000);
CREATE TABLE sessions (
    key TEXT PRIMARY KEY,
    agent TEXT NOT NULL,
    kind TEXT NOT NULL,
    cursor INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    active_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO "sessions" VALUES('main:clerk','clerk','main',0,1800000000000000,1800000000000000);
CREATE TABLE setbacks (
    task INTEGER PRIMARY KEY,
    body TEXT NOT NULL
) STRICT;
INSERT INTO "setbacks" VALUES(2,'{"told":[{"attempt":1,"agent":"clerk","failure":"permanent","kind":"permanent","error":"no luck","at":1800000000000000}],"counts":{"permanent":1},"budgets":{"permanent":1}}');
INSERT INTO "setbacks" VALUES(5,'{"told":[{"attempt":1,"agent":"clerk","failure":"transient","kind":"transient","error":"busy","at":1800000000000000}],"counts":{"transient":1},"budgets":{"transient":3}}');
CREATE TABLE settings (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO "settings" VALUES('scribe.position','3');
CREATE TABLE skips (
    id INTEGER PRIMARY KEY,
    agent TEXT NOT NULL,
    heartbeat TEXT NOT NULL,
    reason TEXT NOT NULL,
    from_at INTEGER NOT NULL,
    to_at INTEGER NOT NULL,
    count INTEGER NOT NULL
) STRICT;
INSERT INTO "skips" VALUES(1,'clerk','heartbeat','nothing to do',1800000900000000,1800000900000000,1);
CREATE TABLE steps (
    id INTEGER PRIMARY KEY,
    task INTEGER NOT NULL,
    journal INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    at INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    entry TEXT NOT NULL
) STRICT;
INSERT INTO "steps" VALUES(1,1,1,1,1800000000000000,1,'{"type":"input","messages":[7],"files":{"key":"value"},"agent_version":"text"}');
INSERT INTO "steps" VALUES(2,1,1,2,1800000000000000,1,'{"type":"model_intent","call":7,"model":"text","reserved_usd_micros":7,"reserved_tokens":7,"prompt_tokens":7,"prompt_usd_micros":7,"wanted":"text","chosen":"escalation","why":"text","effort":"text"}');
INSERT INTO "steps" VALUES(3,1,1,3,1800000000000000,1,'{"type":"model_answer","call":7,"model":"text","text":"text","calls":[{"id":"text","name":"text","arguments":{"key":"value"},"provider_id":"text","raw":"text","problem":"text"}],"thoughts":[{"model":"text","text":"text","signature":"text","sealed":"text","characters_before":7,"calls_before":7}],"stop":"filter","usage":{"input_tokens":7,"cached_tokens":7,"output_tokens":7,"written_tokens":7},"usd_micros":7,"duration_ms":2.5,"problem":"text","trust":"external","private":true}');
INSERT INTO "steps" VALUES(4,1,1,4,1800000000000000,1,'{"type":"verdict","call_id":"text","tool":"text","decision":"deny","reason":"text","rule":"text","question":7,"bound":{"key":"value"}}');
INSERT INTO "steps" VALUES(5,1,1,5,1800000000000000,1,'{"type":"tool_intent","call_id":"text","tool":"text","effect":"irreversible","arguments":{"key":"value"},"key":"text","bound":{"key":"value"},"outside":true,"private":true}');
INSERT INTO "steps" VALUES(6,1,1,6,1800000000000000,1,'{"type":"tool_result","call_id":"text","tool":"text","status":"unknown","text":"text","data":{"key":"value"},"duration_ms":2.5,"outside":true,"private":true,"wrote":["text"]}');
INSERT INTO "steps" VALUES(7,1,1,7,1800000000000000,1,'{"type":"answer","question":7,"decision":"text","by":"text","call_id":"text","text":"text","arguments":{"key":"value"},"bound":{"key":"value"}}');
INSERT INTO "steps" VALUES(8,1,1,8,1800000000000000,1,'{"type":"limit","limit":"text","value":2.5,"question":7,"used":2.5}');
INSERT INTO "steps" VALUES(9,1,1,9,1800000000000000,1,'{"type":"compaction_intent","model":"text","reserved_usd_micros":7,"reserved_tokens":7,"prompt_tokens":7,"prompt_usd_micros":7}');
INSERT INTO "steps" VALUES(10,1,1,10,1800000000000000,1,'{"type":"compaction","text":"text","facts":{"questions":["text"],"running":["text"],"decisions":["text"],"files":["text"]},"through":7,"entries":7,"model":"text","usage":{"input_tokens":7,"cached_tokens":7,"output_tokens":7,"written_tokens":7},"usd_micros":7,"problem":"text","trust":"external","private":true}');
INSERT INTO "steps" VALUES(11,1,1,11,1800000000000000,1,'{"type":"note","text":"text","by":"text","trust":"external","private":true}');
INSERT INTO "steps" VALUES(12,1,1,12,1800000000000000,1,'{"type":"submitted","round":7,"by":"text","rounds":7,"task":7,"question":7,"why":"text"}');
INSERT INTO "steps" VALUES(13,1,1,13,1800000000000000,1,'{"type":"reviewed","accepted":true,"by":"text","notes":"text","task":7,"trust":"external","private":true}');
INSERT INTO "steps" VALUES(14,2,1,1,1800000000000000,1,'{"type":"note","text":"tried"}');
INSERT INTO "steps" VALUES(15,6,1,1,1800000000000000,1,'{"type":"input"}');
INSERT INTO "steps" VALUES(16,6,1,2,1800000000000000,1,'{"type":"model_intent","call":1,"model":"m"}');
CREATE TABLE tainted_files (
    agent TEXT NOT NULL,
    path TEXT NOT NULL,
    task INTEGER NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (agent, path)
) STRICT;
CREATE TABLE tallies (
    agent TEXT NOT NULL,
    goal INTEGER NOT NULL,
    state TEXT NOT NULL,
    count INTEGER NOT NULL,
    PRIMARY KEY (agent, goal, state)
) STRICT, WITHOUT ROWID;
INSERT INTO "tallies" VALUES('clerk',0,'ready',1);
INSERT INTO "tallies" VALUES('clerk',1,'blocked',2);
INSERT INTO "tallies" VALUES('clerk',1,'cancelled',1);
INSERT INTO "tallies" VALUES('clerk',1,'done',1);
INSERT INTO "tallies" VALUES('clerk',1,'draft',1);
INSERT INTO "tallies" VALUES('clerk',1,'failed',1);
INSERT INTO "tallies" VALUES('clerk',1,'ready',2);
INSERT INTO "tallies" VALUES('clerk',1,'running',1);
INSERT INTO "tallies" VALUES('clerk',1,'waiting',2);
CREATE TABLE task_documents (
    task INTEGER PRIMARY KEY,
    spec TEXT NOT NULL
) STRICT;
CREATE TABLE tasks (
    id INTEGER PRIMARY KEY,
    kind TEXT NOT NULL,
    state TEXT NOT NULL,
    title TEXT NOT NULL,
    agent TEXT NOT NULL,
    session TEXT NOT NULL,
    pool TEXT NOT NULL,
    project TEXT NOT NULL,
    type TEXT NOT NULL,
    priority INTEGER NOT NULL,
    not_before_at INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    finished_at INTEGER,
    ready_at INTEGER NOT NULL,
    due_at INTEGER,
    attempts INTEGER NOT NULL,
    failures INTEGER NOT NULL,
    losses INTEGER NOT NULL,
    token INTEGER NOT NULL,
    node INTEGER,
    journal INTEGER NOT NULL,
    steps INTEGER NOT NULL,
    unfinished INTEGER NOT NULL,
    held INTEGER NOT NULL,
    awaited INTEGER NOT NULL,
    parent INTEGER,
    depth INTEGER NOT NULL,
    key TEXT,
    body TEXT,
    wait TEXT,
    reason TEXT NOT NULL,
    dismissed INTEGER NOT NULL,
    seen INTEGER NOT NULL,
    endings INTEGER NOT NULL,
    tokens INTEGER NOT NULL,
    usd_micros INTEGER NOT NULL,
    result TEXT,
    spec TEXT
, delegation TEXT, strand TEXT NOT NULL DEFAULT '', rank INTEGER NOT NULL DEFAULT 0, fingerprint TEXT) STRICT;
INSERT INTO "tasks" VALUES(1,'goal','done','done','clerk','task:1','default','','',0,0,1800000000000000,1800000000000000,1800000000000000,1800000000000000,NULL,1,0,0,1,NULL,1,13,0,0,0,NULL,0,'report-1','28c72555f677b6c5c39f10f53094f50480e2988c30a498cab7ceac5eb7d90ae3',NULL,'',0,0,0,15,300,'{"text":"It is written."}','{"goal":"Write the report.","attachments":[{"name":"a.txt","digest":"2d304e4f132328d498f99a1d276128e1228b2f920b108c7329a6265bcbaf8373"}],"retry":{}}',NULL,'',1800000000000000,NULL);
INSERT INTO "tasks" VALUES(2,'goal','failed','failed','clerk','task:2','default','','',0,0,1800000000000000,1800000000000000,1800000000000000,1800000000000000,NULL,1,1,0,1,NULL,1,1,0,0,0,NULL,0,NULL,NULL,NULL,'no luck',0,0,0,0,0,'{"error":"no luck","error_class":"permanent"}','{}',NULL,'',1800000000000000,'9402ab693fec');
INSERT INTO "tasks" VALUES(3,'goal','waiting','waits for a question','clerk','task:3','default','','',0,0,1800000000000000,1800000000000000,NULL,1800000000000000,NULL,1,0,0,1,NULL,1,0,0,0,0,NULL,0,NULL,NULL,'{"kind":"question","refs":["1"]}','asks',0,0,0,0,0,NULL,'{}',NULL,'',1800000000000000,NULL);
INSERT INTO "tasks" VALUES(4,'goal','waiting','waits for a time','clerk','task:4','default','','',0,0,1800000000000000,1800000000000000,NULL,1800000000000000,1800003600000000,1,0,0,1,NULL,1,0,0,0,0,NULL,0,NULL,NULL,'{"kind":"time","until_at":1800003600000000}','later',0,0,0,0,0,NULL,'{}',NULL,'',1800000000000000,NULL);
INSERT INTO "tasks" VALUES(5,'goal','ready','tried again later','clerk','task:5','default','','',0,0,1800000000000000,1800000000000000,NULL,1800000600000000,1800000600000000,1,1,0,1,NULL,1,0,0,0,0,NULL,0,NULL,NULL,NULL,'busy',0,0,0,0,0,NULL,'{}',NULL,'',1800000000000000,NULL);
INSERT INTO "tasks" VALUES(6,'goal','running','at work when its node died','clerk','task:6','default','','',0,0,1800000000000000,1800000000000000,NULL,1800000000000000,NULL,1,0,0,1,1,1,2,0,0,0,NULL,0,NULL,NULL,NULL,'',0,0,0,0,0,NULL,'{}',NULL,'',1800000000000000,NULL);
INSERT INTO "tasks" VALUES(7,'goal','cancelled','cancelled','clerk','task:7','default','','',0,0,1800000000000000,1800000000000000,1800000000000000,1800000000000000,NULL,0,0,0,0,NULL,1,0,0,0,0,NULL,0,NULL,NULL,NULL,'no',0,0,0,0,0,NULL,'{}',NULL,'',1800000000000000,NULL);
INSERT INTO "tasks" VALUES(8,'goal','ready','ready','clerk','task:8','default','','',5,0,1800000000000000,1800000000000000,NULL,1800000000000000,NULL,0,0,0,0,NULL,1,0,0,0,1,NULL,0,NULL,NULL,NULL,'',0,0,0,0,0,NULL,'{}',NULL,'',1799995500000000,NULL);
INSERT INTO "tasks" VALUES(9,'goal','blocked','blocked by another','clerk','task:9','default','','',0,0,1800000000000000,1800000000000000,NULL,1800000000000000,NULL,0,0,0,0,NULL,1,0,1,0,0,NULL,0,NULL,NULL,NULL,'waits for T8',0,0,0,0,0,NULL,'{}',NULL,'',1800000000000000,NULL);
INSERT INTO "tasks" VALUES(10,'goal','blocked','blocked for a reason','clerk','task:10','default','','',0,0,1800000000000000,1800000000000000,NULL,1800000000000000,NULL,0,0,0,0,NULL,1,0,0,1,0,NULL,0,NULL,NULL,NULL,'nobody has the skills: sailing',0,0,0,0,0,NULL,'{}',NULL,'',1800000000000000,NULL);
INSERT INTO "tasks" VALUES(11,'goal','draft','draft','clerk','task:11','default','','',0,0,1800000000000000,1800000000000000,NULL,1800000000000000,NULL,0,0,0,0,NULL,1,0,0,0,0,NULL,0,NULL,NULL,NULL,'',0,0,0,0,0,NULL,'{}',NULL,'',1800000000000000,NULL);
INSERT INTO "tasks" VALUES(12,'turn','ready','hello','clerk','main:clerk','default','','',0,0,1800000000000000,1800000000000000,NULL,1800000000000000,NULL,0,0,0,0,NULL,1,0,0,0,0,NULL,0,NULL,NULL,NULL,'',0,0,0,0,0,NULL,'{"trust":"external","trigger":"channel","causes":["M1"],"retry":{}}',NULL,'',1800000000000000,NULL);
CREATE TABLE tokens (
    id INTEGER PRIMARY KEY,
    person TEXT NOT NULL,
    role INTEGER NOT NULL,
    digest TEXT NOT NULL UNIQUE,
    added_at INTEGER NOT NULL,
    added_by TEXT NOT NULL,
    revoked_at INTEGER,
    revoked_by TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE TABLE totals (
    name TEXT PRIMARY KEY,
    count INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO "totals" VALUES('dead',1);
INSERT INTO "totals" VALUES('goals.blocked',2);
INSERT INTO "totals" VALUES('goals.cancelled',1);
INSERT INTO "totals" VALUES('goals.done',1);
INSERT INTO "totals" VALUES('goals.draft',1);
INSERT INTO "totals" VALUES('goals.failed',1);
INSERT INTO "totals" VALUES('goals.ready',2);
INSERT INTO "totals" VALUES('goals.running',1);
INSERT INTO "totals" VALUES('goals.waiting',2);
INSERT INTO "totals" VALUES('questions',1);
INSERT INTO "totals" VALUES('tasks.blocked',2);
INSERT INTO "totals" VALUES('tasks.cancelled',1);
INSERT INTO "totals" VALUES('tasks.done',1);
INSERT INTO "totals" VALUES('tasks.draft',1);
INSERT INTO "totals" VALUES('tasks.failed',1);
INSERT INTO "totals" VALUES('tasks.ready',3);
INSERT INTO "totals" VALUES('tasks.running',1);
INSERT INTO "totals" VALUES('tasks.waiting',2);
CREATE INDEX task_due ON tasks (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX task_running ON tasks (node) WHERE state = 'running';
CREATE UNIQUE INDEX task_running_in_session ON tasks (session) WHERE state = 'running' AND session != '';
CREATE UNIQUE INDEX task_turn_of_session ON tasks (session)
    WHERE kind = 'turn' AND session != '' AND state != 'done' AND state != 'cancelled' AND state != 'failed';
CREATE INDEX task_of_session ON tasks (session, id) WHERE session != '';
CREATE INDEX task_of_agent ON tasks (agent, id);
CREATE INDEX task_of_parent ON tasks (parent, id) WHERE parent IS NOT NULL;
CREATE UNIQUE INDEX task_key ON tasks (key) WHERE key IS NOT NULL;
CREATE INDEX task_set_aside ON tasks (state, id) WHERE state != 'ready' AND state != 'running' AND state != 'done';
CREATE INDEX task_settled ON tasks (finished_at)
    WHERE finished_at IS NOT NULL AND (state != 'failed' OR dismissed = 1);
CREATE INDEX dependency_after ON dependencies (after);
CREATE UNIQUE INDEX step_of_task ON steps (task, journal, seq);
CREATE INDEX session_of_agent ON sessions (agent, key);
CREATE INDEX message_of_session ON messages (session, id);
CREATE UNIQUE INDEX message_client_id ON messages (session, client_id) WHERE client_id IS NOT NULL;
CREATE INDEX question_pending ON questions (id) WHERE state = 'pending';
CREATE INDEX question_of_task ON questions (task, id);
CREATE UNIQUE INDEX question_of_call ON questions (task, call_id) WHERE state = 'pending' AND call_id != '';
CREATE INDEX question_expires ON questions (expires_at) WHERE state = 'pending' AND expires_at IS NOT NULL;
CREATE INDEX event_mark ON events (at) WHERE id % 64 = 0;
CREATE INDEX event_of_agent ON events (agent, id) WHERE agent IS NOT NULL;
CREATE INDEX event_of_task ON events (task, id) WHERE task IS NOT NULL;
CREATE INDEX charge_at ON charges (at);
CREATE INDEX charge_of_task ON charges (task, id);
CREATE INDEX schedule_next ON schedules (next_at) WHERE next_at IS NOT NULL;
CREATE INDEX schedule_of_agent ON schedules (agent, name);
CREATE INDEX skip_of_agent ON skips (agent, to_at);
CREATE INDEX skip_to ON skips (to_at);
CREATE INDEX node_open ON nodes (id) WHERE ended_at IS NULL;
CREATE INDEX blob_used ON blobs (used_at);
CREATE INDEX fire_at ON fires (nominal_at);
CREATE INDEX task_of_kind ON tasks (kind, id);
CREATE INDEX task_done ON tasks (kind, id) WHERE state = 'done';
CREATE INDEX task_of_project ON tasks (project, id) WHERE project != '';
CREATE INDEX permission_of_agent ON permissions (agent) WHERE revoked_at IS NULL;
CREATE INDEX question_again ON questions (ask_again_at) WHERE state = 'pending' AND ask_again_at IS NOT NULL;
CREATE UNIQUE INDEX task_of_delegation ON tasks (delegation)
    WHERE delegation IS NOT NULL AND state != 'done' AND state != 'cancelled' AND state != 'failed';
CREATE INDEX task_claimable ON tasks (pool, agent, kind, strand, rank, id) WHERE state = 'ready' AND due_at IS NULL;
CREATE INDEX task_dead ON tasks (fingerprint, id, finished_at) WHERE fingerprint IS NOT NULL;
COMMIT;
PRAGMA application_id = 5708400;
PRAGMA user_version = 16;
