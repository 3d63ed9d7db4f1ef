BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('latency_db_0003');
CREATE TABLE calibration (
	id INTEGER NOT NULL, 
	target_id INTEGER NOT NULL, 
	space VARCHAR(100) NOT NULL, 
	space_digest VARCHAR(64) NOT NULL, 
	image_height INTEGER NOT NULL, 
	image_width INTEGER NOT NULL, 
	batch INTEGER NOT NULL, 
	version INTEGER NOT NULL, 
	created_at DATETIME NOT NULL, 
	run_id INTEGER, 
	method TEXT NOT NULL, 
	cv_error DOUBLE NOT NULL, 
	networks INTEGER NOT NULL, 
	CONSTRAINT pk_calibration PRIMARY KEY (id), 
	CONSTRAINT fk_calibration_run_id_profiling_run FOREIGN KEY(run_id) REFERENCES profiling_run (id), 
	CONSTRAINT fk_calibration_target_id_target FOREIGN KEY(target_id) REFERENCES target (id), 
	CONSTRAINT uq_calibration_identity UNIQUE (target_id, space, space_digest, image_height, image_width, batch, version)
);
INSERT INTO "calibration" VALUES(1,1,'fasterseg','e',256,512,1,1,'2026-11-23 22:50:18.305144',1,'ridge',0.02,1);
CREATE TABLE calibration_term (
	id INTEGER NOT NULL, 
	calibration_id INTEGER NOT NULL, 
	term VARCHAR(16) NOT NULL, 
	op VARCHAR(100), 
	next_op VARCHAR(100), 
	stride INTEGER, 
	next_stride INTEGER, 
	s INTEGER, 
	value DOUBLE NOT NULL, 
	CONSTRAINT pk_calibration_term PRIMARY KEY (id), 
	CONSTRAINT fk_calibration_term_calibration_id_calibration FOREIGN KEY(calibration_id) REFERENCES calibration (id), 
	CONSTRAINT ck_calibration_term_term CHECK (term IN ('global', 'op', 'pair'))
);
INSERT INTO "calibration_term" VALUES(1,1,'global',NULL,NULL,NULL,NULL,NULL,0.98);
INSERT INTO "calibration_term" VALUES(2,1,'op','conv_x2',NULL,NULL,NULL,NULL,1.01);
INSERT INTO "calibration_term" VALUES(3,1,'pair','conv','conv_x2',1,2,8,0.25);
CREATE TABLE derived_architecture (
	id INTEGER NOT NULL, 
	search_id INTEGER NOT NULL, 
	role VARCHAR(16) NOT NULL, 
	network_id INTEGER NOT NULL, 
	branches TEXT NOT NULL, 
	how TEXT NOT NULL, 
	latency_ms DOUBLE NOT NULL, 
	miou DOUBLE, 
	created_at DATETIME NOT NULL, 
	CONSTRAINT pk_derived_architecture PRIMARY KEY (id), 
	CONSTRAINT fk_derived_architecture_network_id_network FOREIGN KEY(network_id) REFERENCES network (id), 
	CONSTRAINT fk_derived_architecture_search_id_search FOREIGN KEY(search_id) REFERENCES search (id), 
	CONSTRAINT uq_derived_architecture_search_id_role UNIQUE (search_id, role), 
	CONSTRAINT ck_derived_architecture_role CHECK (role IN ('teacher', 'student'))
);
INSERT INTO "derived_architecture" VALUES(1,1,'teacher',1,'8','argmax',2.5,0.5,'2026-11-24 09:00:00.000000');
CREATE TABLE device (
	id INTEGER NOT NULL, 
	slug VARCHAR(200) NOT NULL, 
	name TEXT NOT NULL, 
	CONSTRAINT pk_device PRIMARY KEY (id), 
	CONSTRAINT uq_device_slug UNIQUE (slug)
);
INSERT INTO "device" VALUES(1,'cpu','A processor');
CREATE TABLE measurement (
	id INTEGER NOT NULL, 
	run_id INTEGER NOT NULL, 
	target_id INTEGER NOT NULL, 
	spec_id INTEGER NOT NULL, 
	series INTEGER NOT NULL, 
	round INTEGER NOT NULL, 
	provenance VARCHAR(16) NOT NULL, 
	status VARCHAR(16) NOT NULL, 
	reason TEXT, 
	ratio DOUBLE, 
	latency_ms DOUBLE, 
	repeats INTEGER, 
	warmup INTEGER, 
	flags JSON NOT NULL, 
	elapsed_ms BLOB, 
	reference_ms BLOB, 
	created_at DATETIME NOT NULL, 
	CONSTRAINT pk_measurement PRIMARY KEY (id), 
	CONSTRAINT ck_measurement_latency_or_reason CHECK ((status = 'ok' AND latency_ms IS NOT NULL) OR (status = 'failed' AND reason IS NOT NULL)), 
	CONSTRAINT fk_measurement_run_id_profiling_run FOREIGN KEY(run_id) REFERENCES profiling_run (id), 
	CONSTRAINT fk_measurement_target_id_target FOREIGN KEY(target_id) REFERENCES target (id), 
	CONSTRAINT fk_measurement_spec_id_op_spec FOREIGN KEY(spec_id) REFERENCES op_spec (id), 
	CONSTRAINT uq_measurement_run_id_spec_id_round UNIQUE (run_id, spec_id, round), 
	CONSTRAINT ck_measurement_provenance CHECK (provenance IN ('measured', 'imported', 'predicted')), 
	CONSTRAINT ck_measurement_status CHECK (status IN ('ok', 'failed'))
);
INSERT INTO "measurement" VALUES(1,1,1,1,1,0,'measured','ok',NULL,2.02,2.02,4,2,'["throttled"]',X'0000000000000040295C8FC2F528004052B81E85EB510040',X'000000000000F03F000000000000F03F000000000000F03F000000000000F03F','2026-11-23 17:01:11.411572');
INSERT INTO "measurement" VALUES(2,1,1,1,1,1,'measured','ok',NULL,2.02,2.02,4,2,'["throttled"]',X'0000000000000040295C8FC2F528004052B81E85EB510040',X'000000000000F03F000000000000F03F000000000000F03F000000000000F03F','2026-11-23 17:01:11.411572');
INSERT INTO "measurement" VALUES(3,1,1,1,1,2,'measured','ok',NULL,2.02,2.02,4,2,'["throttled"]',X'0000000000000040295C8FC2F528004052B81E85EB510040',X'000000000000F03F000000000000F03F000000000000F03F000000000000F03F','2026-11-23 17:01:11.411572');
INSERT INTO "measurement" VALUES(4,1,1,2,1,0,'measured','failed','no such kernel',NULL,NULL,NULL,NULL,'[]',NULL,NULL,'2026-11-23 17:01:11.415071');
CREATE TABLE meta (
	id INTEGER NOT NULL, 
	written_by_version VARCHAR(64) NOT NULL, 
	CONSTRAINT pk_meta PRIMARY KEY (id), 
	CONSTRAINT ck_meta_one_row CHECK (id = 1)
);
INSERT INTO "meta" VALUES(1,'0.1.0');
CREATE TABLE network (
	id INTEGER NOT NULL, 
	space VARCHAR(100) NOT NULL, 
	space_settings JSON NOT NULL, 
	architecture JSON NOT NULL, 
	digest VARCHAR(64) NOT NULL, 
	image_height INTEGER NOT NULL, 
	image_width INTEGER NOT NULL, 
	batch INTEGER NOT NULL, 
	CONSTRAINT pk_network PRIMARY KEY (id), 
	CONSTRAINT uq_network_identity UNIQUE (space, digest, image_height, image_width, batch)
);
INSERT INTO "network" VALUES(1,'fasterseg','{"scales": [8]}','{"cells": []}','1b735b01e90b12ee307a0d1a060f4de045e7a51afd4717e4b5468faee94af377',256,512,1);
CREATE TABLE network_measurement (
	id INTEGER NOT NULL, 
	run_id INTEGER NOT NULL, 
	target_id INTEGER NOT NULL, 
	network_id INTEGER NOT NULL, 
	series INTEGER NOT NULL, 
	round INTEGER NOT NULL, 
	provenance VARCHAR(16) NOT NULL, 
	status VARCHAR(16) NOT NULL, 
	reason TEXT, 
	ratio DOUBLE, 
	latency_ms DOUBLE, 
	repeats INTEGER, 
	warmup INTEGER, 
	flags JSON NOT NULL, 
	elapsed_ms BLOB, 
	reference_ms BLOB, 
	created_at DATETIME NOT NULL, 
	CONSTRAINT pk_network_measurement PRIMARY KEY (id), 
	CONSTRAINT ck_network_measurement_latency_or_reason CHECK ((status = 'ok' AND latency_ms IS NOT NULL) OR (status = 'failed' AND reason IS NOT NULL)), 
	CONSTRAINT fk_network_measurement_run_id_profiling_run FOREIGN KEY(run_id) REFERENCES profiling_run (id), 
	CONSTRAINT fk_network_measurement_target_id_target FOREIGN KEY(target_id) REFERENCES target (id), 
	CONSTRAINT fk_network_measurement_network_id_network FOREIGN KEY(network_id) REFERENCES network (id), 
	CONSTRAINT uq_network_measurement_run_id_network_id_round UNIQUE (run_id, network_id, round), 
	CONSTRAINT ck_network_measurement_provenance CHECK (provenance IN ('measured', 'imported', 'predicted')), 
	CONSTRAINT ck_network_measurement_status CHECK (status IN ('ok', 'failed'))
);
INSERT INTO "network_measurement" VALUES(1,1,1,1,1,0,'measured','ok',NULL,30.3,30.3,4,2,'["throttled"]',X'0000000000003E40CDCCCCCCCC4C3E409A99999999993E40',X'000000000000F03F000000000000F03F000000000000F03F000000000000F03F','2026-11-23 17:01:11.424258');
CREATE TABLE op_spec (
	id INTEGER NOT NULL, 
	op VARCHAR(100) NOT NULL, 
	s INTEGER NOT NULL, 
	c_in INTEGER NOT NULL, 
	c_out INTEGER NOT NULL, 
	stride INTEGER NOT NULL, 
	image_height INTEGER NOT NULL, 
	image_width INTEGER NOT NULL, 
	batch INTEGER NOT NULL, 
	branches INTEGER NOT NULL, 
	chi_in INTEGER, 
	chi_out INTEGER, 
	CONSTRAINT pk_op_spec PRIMARY KEY (id), 
	CONSTRAINT uq_op_spec_identity UNIQUE (op, s, c_in, c_out, stride, image_height, image_width, batch, branches)
);
INSERT INTO "op_spec" VALUES(1,'conv_x2',8,64,128,2,256,512,1,1,8,8);
INSERT INTO "op_spec" VALUES(2,'skip',8,32,32,1,256,512,1,1,4,4);
CREATE TABLE profiling_run (
	id INTEGER NOT NULL, 
	target_id INTEGER NOT NULL, 
	kind VARCHAR(16) NOT NULL, 
	series INTEGER NOT NULL, 
	status VARCHAR(16) NOT NULL, 
	reason TEXT, 
	"plan" JSON NOT NULL, 
	environment JSON NOT NULL, 
	reference_ms DOUBLE, 
	started_at DATETIME NOT NULL, 
	finished_at DATETIME, 
	heartbeat_at DATETIME NOT NULL, 
	CONSTRAINT pk_profiling_run PRIMARY KEY (id), 
	CONSTRAINT fk_profiling_run_target_id_target FOREIGN KEY(target_id) REFERENCES target (id), 
	CONSTRAINT ck_profiling_run_kind CHECK (kind IN ('profile', 'validate', 'import', 'predict')), 
	CONSTRAINT ck_profiling_run_status CHECK (status IN ('running', 'completed', 'interrupted'))
);
INSERT INTO "profiling_run" VALUES(1,1,'profile',1,'completed','every spec is tight','{"rounds": 3}','{"load": 0.5}',1.25,'2026-11-23 17:01:11.405651','2026-11-23 17:01:11.426695','2026-11-23 17:01:11.426695');
CREATE TABLE search (
	id INTEGER NOT NULL, 
	folder TEXT NOT NULL, 
	space VARCHAR(100) NOT NULL, 
	space_settings JSON NOT NULL, 
	device VARCHAR(200) NOT NULL, 
	target_id INTEGER, 
	target_line TEXT NOT NULL, 
	image_height INTEGER NOT NULL, 
	image_width INTEGER NOT NULL, 
	batch INTEGER NOT NULL, 
	config JSON NOT NULL, 
	seed BIGINT NOT NULL, 
	status VARCHAR(16) NOT NULL, 
	reason TEXT, 
	started_at DATETIME NOT NULL, 
	finished_at DATETIME, 
	epochs INTEGER NOT NULL, 
	CONSTRAINT pk_search PRIMARY KEY (id), 
	CONSTRAINT fk_search_target_id_target FOREIGN KEY(target_id) REFERENCES target (id), 
	CONSTRAINT uq_search_identity UNIQUE (folder, started_at), 
	CONSTRAINT ck_search_status CHECK (status IN ('running', 'completed', 'interrupted', 'failed'))
);
INSERT INTO "search" VALUES(1,'/runs/earlier','fasterseg','{"scales": [8]}','cpu',1,'cpu ort',256,512,1,'{"epochs": 2}',7,'completed',NULL,'2026-11-24 08:00:00.000000','2026-11-24 09:00:00.000000',2);
CREATE TABLE target (
	id INTEGER NOT NULL, 
	"key" VARCHAR(64) NOT NULL, 
	device_id INTEGER NOT NULL, 
	backend VARCHAR(100) NOT NULL, 
	runtime VARCHAR(200) NOT NULL, 
	runtime_version VARCHAR(200) NOT NULL, 
	precision VARCHAR(50) NOT NULL, 
	settings JSON NOT NULL, 
	fingerprint VARCHAR(200) NOT NULL, 
	environment JSON NOT NULL, 
	created_at DATETIME NOT NULL, 
	CONSTRAINT pk_target PRIMARY KEY (id), 
	CONSTRAINT fk_target_device_id_device FOREIGN KEY(device_id) REFERENCES device (id), 
	CONSTRAINT uq_target_key UNIQUE ("key")
);
INSERT INTO "target" VALUES(1,'4c79a684ce674730aea83b9639a04373',1,'ort','onnxruntime','1.2','fp32','{"threads": 1, "graph_optimization": "all"}','ffffffffffffffff','{"cores": 2, "model": "A processor"}','2026-11-23 17:01:11.393319');
CREATE INDEX ix_op_spec_image ON op_spec (image_height, image_width, batch);
CREATE INDEX ix_target_device_id ON target (device_id);
CREATE INDEX ix_profiling_run_target_id ON profiling_run (target_id);
CREATE INDEX ix_measurement_table ON measurement (target_id, spec_id, status, provenance, series);
CREATE INDEX ix_network_measurement_table ON network_measurement (target_id, network_id, status, provenance, series);
CREATE INDEX ix_calibration_term_calibration_id ON calibration_term (calibration_id);
CREATE INDEX ix_search_device ON search (device);
CREATE INDEX ix_derived_architecture_network_id ON derived_architecture (network_id);
COMMIT;
