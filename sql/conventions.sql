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

-- So have their columns.
SELECT c.oid::regclass AS relation, a.attname AS uncommented
  FROM member
  JOIN pg_class c ON classid = 'pg_class'::regclass AND c.oid = objid
    OR classid = 'pg_type'::regclass AND c.reltype = objid AND c.relkind = 'c'
  JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
 WHERE c.relnamespace = 'durable'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'c')
   AND col_description(c.oid, a.attnum) IS NULL
 ORDER BY 1, 2;

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

-- No function runs with its owner's rights but these, which count and nobody can name: durable.stats calls them.
SELECT p.oid::regprocedure AS definer
  FROM member JOIN pg_proc p ON classid = 'pg_proc'::regclass AND p.oid = objid
 WHERE p.prosecdef
 ORDER BY 1;

-- Every function written in a language whose names and operators are looked up, be it when it is made, pins its search path.
SELECT p.oid::regprocedure AS unpinned
  FROM member JOIN pg_proc p ON classid = 'pg_proc'::regclass AND p.oid = objid
  JOIN pg_language l ON l.oid = p.prolang
 WHERE l.lanname NOT IN ('c', 'internal')
   AND NOT coalesce('search_path=pg_catalog, pg_temp' = ANY (p.proconfig), false)
 ORDER BY 1;
-- It stays pinned while the function runs.  These two look a function up for their caller by the path that the caller gave,
-- and under it do nothing but call durable.start_new with arguments of its own types: test/t/061_trust.pl.
SELECT p.oid::regprocedure AS changes_path
  FROM member JOIN pg_proc p ON classid = 'pg_proc'::regclass AND p.oid = objid,
       regexp_matches(coalesce(pg_get_function_sqlbody(p.oid), p.prosrc),
                      $$set_config\s*\(\s*'search_path'\s*,(?!\s*'pg_catalog, pg_temp')|\mset\s+(?:local\s+|session\s+)?search_path\M$$, 'gi') m
 ORDER BY 1;
-- What it executes as text is made of quoted names, or fixed.
SELECT p.oid::regprocedure AS dynamic, count(*)
  FROM member JOIN pg_proc p ON classid = 'pg_proc'::regclass AND p.oid = objid,
       regexp_matches(p.prosrc, '\mEXECUTE (?!ON )', 'g')
 GROUP BY 1
 ORDER BY 1;
-- Views, policies, defaults, indexes and bodies that are parsed when they are made have found PostgreSQL's own objects and ours.
SELECT pg_describe_object(d.classid, d.objid, d.objsubid) AS refers, pg_describe_object(d.refclassid, d.refobjid, d.refobjsubid) AS elsewhere
  FROM pg_depend d, pg_identify_object(d.classid, d.objid, 0) o, pg_identify_object(d.refclassid, d.refobjid, 0) r
 WHERE (o.schema IN ('durable', 'durable_internal')
        OR d.classid = 'pg_rewrite'::regclass AND d.objid IN (SELECT oid FROM pg_rewrite WHERE ev_class IN (SELECT objid FROM member WHERE classid = 'pg_class'::regclass))
        OR d.classid = 'pg_policy'::regclass AND d.objid IN (SELECT oid FROM pg_policy WHERE polrelid IN (SELECT objid FROM member WHERE classid = 'pg_class'::regclass)))
   AND r.schema NOT IN ('pg_catalog', 'durable', 'durable_internal')
 ORDER BY 1, 2;
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
-- Not so operators of a type of ours in a schema where nobody has rights, and the order of that type.
SELECT pg_describe_object(classid, objid, 0) AS pervasive
  FROM member
 WHERE classid::regclass::text IN ('pg_cast', 'pg_event_trigger', 'pg_trigger', 'pg_rewrite', 'pg_default_acl')
    OR (classid = 'pg_operator'::regclass
        AND NOT (SELECT oprnamespace = 'durable_internal'::regnamespace AND oprleft = t.oid AND oprright = t.oid
                   FROM pg_operator o, pg_type t
                  WHERE o.oid = objid AND t.typname = 'owner' AND t.typnamespace = oprnamespace))
    OR (classid = 'pg_opclass'::regclass
        AND (SELECT opcdefault AND opcintype::regtype <> 'durable_internal.owner'::regtype FROM pg_opclass o WHERE o.oid = objid))
 ORDER BY 1;
-- Public functions that change something are not run by parallel workers.
SELECT p.oid::regprocedure AS unsafe
  FROM member JOIN pg_proc p ON classid = 'pg_proc'::regclass AND p.oid = objid
 WHERE p.provolatile = 'v' AND p.proparallel = 's'
 ORDER BY 1;

-- Settings have a prefix and a description.
SELECT name AS undescribed FROM pg_settings WHERE name LIKE 'durable.%' AND short_desc IN ('', 'No description available.');
SELECT count(*) > 0 AS has_settings FROM pg_settings WHERE name LIKE 'durable.%';
