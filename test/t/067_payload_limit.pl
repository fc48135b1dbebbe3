# durable.max_payload: what is small as jsonb and huge as text is refused, so that pg_dump and lists work; what was
# stored under a higher limit stays usable.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use DurableTest;

my $node = durable_node('payload_limit', conf => 'log_statement = none');

$node->safe_psql(
	'postgres', q(
	CREATE FUNCTION w(x jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT jsonb_build_array(jsonb_array_length(x)) $$;
	-- 90 kB of jsonb, 1.3 GB of text
	CREATE FUNCTION huge(n int DEFAULT 9999) RETURNS jsonb LANGUAGE sql AS $$ SELECT ('[' || repeat('1e131071,', n) || '1e131071]')::jsonb $$;
	CREATE FUNCTION waits(x jsonb) RETURNS int LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM durable.call_activity('w', x);
		PERFORM durable.wait_for_external_event('go');
		PERFORM durable.call_activity('w', '[1, 2, 3]');
		RETURN jsonb_array_length(x);
	END $$;
	CREATE FUNCTION returns(n int) RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN RETURN durable.call_activity('huge', to_jsonb(n)); END $$;));

my ($rc, $out, $err) = $node->psql('postgres', "\\set VERBOSITY verbose\nSELECT durable.start_new('w', huge(), 'huge')");
like($err, qr/ERROR:  54000: a payload of 1310740000 bytes of text exceeds durable.max_payload, 67108864 bytes\n/, 'the input is refused');
like($err, qr/HINT:  .*durable\.max_payload/, 'and told which setting refuses it');
$node->safe_psql('postgres', q(SELECT durable.start_new('returns', '9999', 'returned')));
is($node->safe_psql('postgres', q(SELECT runtime_status, failure->>'sqlstate' FROM durable.wait_for_completion('returned', '1 min'))),
	'Failed|54000', 'the result of an activity, too');

# 60 MB of text go through, and all can be listed and dumped.
$node->safe_psql('postgres', q(SELECT durable.start_new('waits', huge(450), 'before')));
poll_until($node, q(SELECT count(*) = 1 FROM durable.history WHERE instance_id = 'before' AND event_type = 'EventSubscribed'), 'an instance with a large input waits');
is($node->safe_psql('postgres', q(SELECT count(*) FROM durable.query_instances(instance_ids => '{before,returned}') q WHERE q::text IS NOT NULL)), 1, 'one fits into a page');

# A page has one instance of that size at most, whatever its page_size, and its token leads to the others.
$node->safe_psql('postgres', q(SELECT durable.start_new('w', huge(450), 'page-' || i, tags => '{"page": 1}') FROM generate_series(1, 3) i));
is($node->safe_psql('postgres', q(SELECT count(*) FROM generate_series(1, 3) i, durable.wait_for_completion('page-' || i, '1 min') WHERE runtime_status = 'Completed')), 3, 'large instances');
$node->safe_psql('postgres', q(SELECT count(durable.start_new('w', '[1]', 'small-' || i, tags => '{"page": 1}')) FROM generate_series(1, 5) i));
foreach my $prefix ('NULL', q('page-'))
{
	my @sizes;
	my $token = 'NULL';
	for (1 .. 10)
	{
		my ($count, $next) = split /\|/, $node->safe_psql('postgres',
			"SELECT count(*), max(continuation_token) FROM durable.query_instances(tags => '{\"page\": 1}', instance_id_prefix => $prefix, continuation_token => $token)");
		push @sizes, $count;
		last if !$next;
		$token = "'$next'";
	}
	is("@sizes", $prefix eq 'NULL' ? '1 1 1 5' : '1 1 1', "pages with prefix $prefix");
}
is($node->safe_psql('postgres', q(SELECT count(*) FROM durable.query_instances(tags => '{"page": 1}', show_input => false))), 8, 'all fit without inputs');
my $dump = PostgreSQL::Test::Utils::tempdir() . '/dump';
$node->command_ok([ 'pg_dump', '-f', $dump, $node->connstr('postgres') ], 'pg_dump works');
ok(-s $dump > 100_000_000, 'and has the large inputs');

# A lower limit is for what comes; what is stored already is read and replayed.
$node->safe_psql('postgres', q(ALTER SYSTEM SET durable.max_payload = '100kB'));
$node->reload;
poll_until($node, q(SELECT current_setting('durable.max_payload') = '100kB'), 'the limit is lower');
($rc, $out, $err) = $node->psql('postgres', "\\set VERBOSITY verbose\nSELECT durable.start_new('w', huge(0))");
like($err, qr/ERROR:  54000: a payload of 131074 bytes of text exceeds durable.max_payload, 102400 bytes\n/, 'it holds');
$node->safe_psql('postgres', q(SELECT durable.raise_event('before', 'go')));
is($node->safe_psql('postgres', q(SELECT runtime_status, output FROM durable.wait_for_completion('before', '1 min'))), 'Completed|451', 'what waited goes on');
($rc, $out, $err) = $node->psql('postgres', "\\set VERBOSITY verbose\nSELECT durable.restart('before')");
like($err, qr/ERROR:  54000:/, 'but is not started again');

done_testing();
