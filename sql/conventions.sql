-- What holds for every object of the extension, whatever is added to it.

CREATE TEMP TABLE member AS
SELECT d.classid, d.objid
  FROM pg_depend d
  JOIN pg_extension e ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid
 WHERE e.extname = 'durable' AND d.deptype = 'e';

-- All is in the two schemas.
SELECT pg_describe_object(classid, objid, 0) AS elsewhere
  FROM member, pg_identify_object(classid, objid, 0) i
 WHERE CASE i.type WHEN 'schema' THEN i.name ELSE i.schema END NOT IN ('durable', 'durable_internal')
 ORDER BY 1;

-- Public functions, types, tables and views have comments.
SELECT pg_describe_object(classid, objid, 0) AS uncommented
  FROM member, pg_identify_object(classid, objid, 0) i
 WHERE i.schema = 'durable'
   AND i.type IN ('function', 'procedure', 'type', 'composite type', 'table', 'view')
   AND NOT EXISTS (SELECT FROM pg_type t
                    WHERE classid = 'pg_type'::regclass AND t.oid = objid AND (t.typelem <> 0 OR t.typrelid IN
                          (SELECT oid FROM pg_class WHERE relkind <> 'c')))
   AND obj_description(objid, classid::regclass::name) IS NULL
   -- the comment of a composite type stands at its type
   AND NOT EXISTS (SELECT FROM pg_class c
                    WHERE classid = 'pg_class'::regclass AND c.oid = objid
                      AND obj_description(c.reltype, 'pg_type') IS NOT NULL)
 ORDER BY 1;

-- Nothing is granted to PUBLIC.
SELECT oid::regprocedure AS public_function
  FROM pg_proc, aclexplode(coalesce(proacl, acldefault('f', proowner))) a
 WHERE pronamespace IN ('durable'::regnamespace, 'durable_internal'::regnamespace) AND a.grantee = 0
 ORDER BY 1;
SELECT oid::regclass AS public_relation, a.privilege_type
  FROM pg_class, aclexplode(relacl) a
 WHERE relnamespace IN ('durable'::regnamespace, 'durable_internal'::regnamespace) AND a.grantee = 0
 ORDER BY 1, 2;
SELECT nspname AS public_schema, a.privilege_type
  FROM pg_namespace, aclexplode(nspacl) a
 WHERE nspname IN ('durable', 'durable_internal') AND a.grantee = 0
 ORDER BY 1, 2;

-- A function that runs with its owner's rights pins its search path.
SELECT p.oid::regprocedure AS unpinned
  FROM member JOIN pg_proc p ON classid = 'pg_proc'::regclass AND p.oid = objid
 WHERE p.prosecdef AND NOT coalesce(array_to_string(p.proconfig, ',') ~ 'search_path=', false)
 ORDER BY 1;

-- So does every function written in a language whose names and operators are looked up when it runs.
SELECT p.oid::regprocedure AS unpinned
  FROM member JOIN pg_proc p ON classid = 'pg_proc'::regclass AND p.oid = objid
  JOIN pg_language l ON l.oid = p.prolang
 WHERE l.lanname NOT IN ('c', 'internal') AND p.prosqlbody IS NULL
   AND coalesce(array_to_string(p.proconfig, ',') !~ '^search_path=pg_catalog, (durable, )?pg_temp($|,)', true)
 ORDER BY 1;
-- One with backslashes says how they are to be read.
SELECT p.oid::regprocedure AS backslashes
  FROM member JOIN pg_proc p ON classid = 'pg_proc'::regclass AND p.oid = objid
 WHERE p.prosrc LIKE '%\%' ESCAPE '!' AND NOT coalesce('standard_conforming_strings=on' = ANY (p.proconfig), false)
 ORDER BY 1;
-- Only functions of the engine's own library are in C.
SELECT p.oid::regprocedure AS elsewhere, p.probin
  FROM member JOIN pg_proc p ON classid = 'pg_proc'::regclass AND p.oid = objid
 WHERE p.prolang = (SELECT oid FROM pg_language WHERE lanname = 'c') AND p.probin !~ '(^|/)durable$'
 ORDER BY 1;
-- All belongs to who owns the extension.
SELECT pg_describe_object(m.classid, m.objid, 0) AS foreign_owner
  FROM member m
  LEFT JOIN pg_proc p ON m.classid = 'pg_proc'::regclass AND p.oid = m.objid
  LEFT JOIN pg_class c ON m.classid = 'pg_class'::regclass AND c.oid = m.objid
  LEFT JOIN pg_namespace n ON m.classid = 'pg_namespace'::regclass AND n.oid = m.objid
 WHERE coalesce(p.proowner, c.relowner, n.nspowner) <> (SELECT extowner FROM pg_extension WHERE extname = 'durable')
 ORDER BY 1;

-- Tables have row-level security, views a security barrier; nothing of what stores instances is granted to anybody.
SELECT c.oid::regclass AS no_row_security
  FROM member JOIN pg_class c ON classid = 'pg_class'::regclass AND c.oid = objid
 WHERE c.relkind IN ('r', 'p') AND NOT c.relrowsecurity
 ORDER BY 1;
SELECT c.oid::regclass AS no_barrier
  FROM member JOIN pg_class c ON classid = 'pg_class'::regclass AND c.oid = objid
 WHERE c.relkind = 'v' AND c.relnamespace = 'durable'::regnamespace
   AND NOT coalesce(c.reloptions && '{security_barrier=true,security_barrier=on}', false)
 ORDER BY 1;
SELECT c.oid::regclass AS granted, a.grantee::regrole, a.privilege_type
  FROM member JOIN pg_class c ON classid = 'pg_class'::regclass AND c.oid = objid, aclexplode(c.relacl) a
 WHERE c.relnamespace = 'durable_internal'::regnamespace AND a.grantee <> c.relowner
 ORDER BY 1, 2, 3;
-- Operators, casts and the like would be found by everybody's queries; so would the operator class of a type, if it is the default one.
SELECT pg_describe_object(classid, objid, 0) AS pervasive
  FROM member
 WHERE classid::regclass::text IN ('pg_operator', 'pg_cast', 'pg_event_trigger', 'pg_trigger', 'pg_rewrite', 'pg_default_acl')
    OR (classid = 'pg_opclass'::regclass AND (SELECT opcdefault FROM pg_opclass o WHERE o.oid = objid))
 ORDER BY 1;
-- Public functions that change something are not run by parallel workers.
SELECT p.oid::regprocedure AS unsafe
  FROM member JOIN pg_proc p ON classid = 'pg_proc'::regclass AND p.oid = objid
 WHERE p.provolatile = 'v' AND p.proparallel = 's'
 ORDER BY 1;

-- Settings have a prefix and a description.
SELECT name AS undescribed FROM pg_settings WHERE name LIKE 'durable.%' AND short_desc IN ('', 'No description available.');
SELECT count(*) > 0 AS has_settings FROM pg_settings WHERE name LIKE 'durable.%';
