-- What lists walk along, newest first: a page of them is read, however many tasks of other kinds or states lie between.

CREATE INDEX task_of_kind ON tasks (kind, id);
CREATE INDEX task_done ON tasks (kind, id) WHERE state = 'done';
CREATE INDEX task_of_project ON tasks (project, id) WHERE project != '';
