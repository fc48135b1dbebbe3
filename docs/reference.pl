# Prints docs/reference.md, made of the catalog of the server that psql reaches by itself (PGHOST, PGDATABASE …) and of
# docs/errors.tsv: run by `make docs`, and by test/reference.pl, which compares the result with the committed page.
#
# The page says what the COMMENTs and the settings' descriptions say. In a COMMENT each line is a paragraph. A line that
# begins with names of parameters or columns and a colon is an item of a list, as is a line that begins with SQLSTATEs and
# a colon. Backticks enclose code. The script adds links, and code style for names with an underscore.
#
# It is an error if a public object or column has no COMMENT, stands in no group, or has a parameter that its COMMENT does not name.
use strict;
use warnings;
use JSON::PP;

# In the order of the page: title, what all of the group have in common, names.
my @groups = (
	['Starting instances', 'For any session, and for activities.', qw(start_new restart rewind)],
	['Looking at instances', 'For any session, and for activities. They show what the caller may see: the instances of the '
		  . 'caller\'s role and of the roles that the caller is a member of. Members of `pg_monitor` see all.',
		qw(get_status wait_for_completion query_instances count_instances explain tasks turn_state history_size text_size)],
	['Steering instances', 'For any session, and for activities. What they ask for is part of the caller\'s transaction, and '
		  . 'the engine does it after the commit.',
		qw(raise_event suspend resume terminate set_custom_status)],
	['Removing instances', 'For any session, and for activities.',
		qw(purge_instance_history purge_instance_history_by purge_instance_history_batches)],
	['Schedules', 'With pg_cron, for any session.', qw(schedule schedule_purge run_schedule unschedule check_pg_cron)],
	['Answers of an HTTP API', 'For web servers in front of the database.',
		qw(create_http_management_payload create_check_status_response wait_for_completion_or_create_check_status_response)],
	['Activities and SQL statements', 'For orchestrators.', qw(call_activity schedule_activity call_sql schedule_sql retry_policy)],
	['Sub-orchestrations', 'For orchestrators.', qw(call_sub_orchestrator schedule_sub_orchestrator start_sub_orchestrator)],
	['Timers and events', 'For orchestrators.',
		qw(sleep sleep_until create_timer wait_for_external_event subscribe_event send_event)],
	['Tasks', 'For orchestrators.', qw(await when_all when_any cancel_task)],
	['The orchestrator itself', 'For orchestrators; some of them are for activities too. The custom status is set by durable.set_custom_status.',
		qw(continue_as_new now new_guid is_replaying log instance_id execution_id parent_instance_id instance_version instance_tags)],
	['The activity itself', 'For activities.', qw(idempotency_key task_id attempt)],
	['Development', 'For any session.', qw(check_orchestrator run_sql require_client)],
	['Administration', 'For administrators; `notify_channel` and `role_obstacle` are for any session.',
		qw(grant_usage revoke_usage set_quota unset_quota reassign_owner reset_stats notify_channel renew_notify_channels role_obstacle)]);
my @relations = qw(instances history activities timers sub_orchestrations schedules workers stats function_stats quotas databases);
my @types = qw(runtime_status orchestration_status status_count retry_policy task);

my @problems;

sub query
{
	my ($sql) = @_;
	local $ENV{PGOPTIONS} = '-c search_path=pg_catalog -c IntervalStyle=postgres -c DateStyle=ISO';
	open(my $psql, '-|', 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-c', "SELECT coalesce(json_agg(q), '[]') FROM ($sql) q")
	  or die "psql: $!";
	my $text = join('', <$psql>);
	close($psql) or die "the query failed: $sql\n";
	return @{ JSON::PP->new->utf8->decode($text) };
}

# Every form of every function, with its parameters in order.
my @functions = query(<<'SQL');
SELECT p.proname AS name,
       CASE p.prokind WHEN 'p' THEN 'CALL ' ELSE '' END AS verb,
       CASE p.prokind WHEN 'p' THEN '' ELSE pg_get_function_result(p.oid) END AS result,
       obj_description(p.oid, 'pg_proc') AS comment,
       (SELECT json_agg(json_build_object(
                   'name', coalesce(p.proargnames[n], ''),
                   'mode', coalesce(p.proargmodes[n], 'i'),
                   'type', format_type(type, NULL),
                   'default', pg_get_function_arg_default(p.oid, n::int)) ORDER BY n)
          FROM unnest(coalesce(p.proallargtypes, p.proargtypes::oid[])) WITH ORDINALITY a (type, n)) AS parameters
  FROM pg_proc p
 WHERE p.pronamespace = 'durable'::regnamespace
 ORDER BY p.proname, p.pronargs, p.provariadic = 0, p.oid::regprocedure::text
SQL

my %relation = map { $_->{name} => $_ } query(<<'SQL');
SELECT c.relname AS name,
       CASE c.relkind WHEN 'v' THEN 'view' WHEN 'c' THEN 'type' ELSE 'table' END AS kind,
       obj_description(CASE c.relkind WHEN 'c' THEN c.reltype ELSE c.oid END, CASE c.relkind WHEN 'c' THEN 'pg_type' ELSE 'pg_class' END) AS comment,
       (SELECT json_agg(json_build_object('name', a.attname, 'type', format_type(a.atttypid, a.atttypmod), 'comment', col_description(c.oid, a.attnum)) ORDER BY a.attnum)
          FROM pg_attribute a
         WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped) AS columns
  FROM pg_class c
 WHERE c.relnamespace = 'durable'::regnamespace AND c.relkind IN ('v', 'r', 'p', 'm', 'f', 'c')
SQL

# Types that are no row types: enumerations so far.
my %type = map { $_->{name} => $_ } query(<<'SQL');
SELECT t.typname AS name, 'type' AS kind, obj_description(t.oid, 'pg_type') AS comment,
       (SELECT json_agg(e.enumlabel ORDER BY e.enumsortorder) FROM pg_enum e WHERE e.enumtypid = t.oid) AS labels
  FROM pg_type t
 WHERE t.typnamespace = 'durable'::regnamespace AND t.typrelid = 0 AND t.typelem = 0
SQL
$type{$_} = delete $relation{$_} foreach grep { $relation{$_}{kind} eq 'type' } keys %relation;

my @settings = query(<<'SQL');
SELECT name, vartype, coalesce(unit, '') AS unit, boot_val, min_val, max_val, enumvals, context, short_desc, extra_desc
  FROM pg_settings
 WHERE name LIKE 'durable.%'
 ORDER BY name
SQL

my (@errors, %error);
open(my $tsv, '<:encoding(UTF-8)', 'docs/errors.tsv') or die "docs/errors.tsv: $!";
while (my $line = <$tsv>)
{
	chomp $line;
	next if $. == 1;
	my ($sqlstate, $condition, $cause, $cure, $more) = split /\t/, $line, -1;
	if (!defined $cure || defined $more || !$cause || !$cure || $sqlstate !~ /^[0-9A-Z]{5}$/)
	{
		push @problems, "docs/errors.tsv line $.: SQLSTATE, condition name, cause and cure, between tabs";
		next;
	}
	push @errors, $error{$sqlstate} = { sqlstate => $sqlstate, condition => $condition, cause => $cause, cure => $cure };
}
close($tsv);
push @problems, 'docs/errors.tsv: not in the order of SQLSTATEs, the own ones first'
  if join(' ', map { $_->{sqlstate} } @errors)
  ne join(' ', sort { ($b =~ /^OD/) <=> ($a =~ /^OD/) || $a cmp $b } keys %error);

# Headings and where they are found: GitHub makes the anchor of a heading in lower case, without punctuation.
my %target;

sub anchor
{
	my ($heading) = @_;
	return lc($heading) =~ s/[^a-z0-9_ -]//gr =~ s/ /-/gr;
}

sub define
{
	my ($name, $kind) = @_;
	$target{$name}{$kind} = $kind eq 'function' ? "durable.$name" : "durable.$name ($kind)";
}
define($_->{name}, 'function') foreach @functions;
define($_->{name}, $_->{kind}) foreach values %relation, values %type;
define($_->{name} =~ s/^durable\.//r, 'setting') foreach @settings;

# What a name in a text links to. Of a name that two kinds of objects have, the word before tells the kind.
sub target
{
	my ($name, $before, $where) = @_;
	my $kinds = $target{$name};
	if (!$kinds)
	{
		push @problems, "$where: there is no durable.$name";
		return undef;
	}
	my ($word) = $before =~ /(function|view|table|type|setting)s? $/;
	return $kinds->{$word} if defined $word && $kinds->{$word};
	my @kinds = keys %$kinds;
	push @problems, "$where: say before durable.$name which it is: " . join(', ', sort @kinds) if @kinds > 1;
	return $kinds->{ $kinds[0] };
}

# Plain text as Markdown.
sub markdown
{
	my ($text, $where) = @_;
	my $result = '';
	while ($text =~ /\G(?:(`[^`]*`)|(durable\.([a-z_]+)(?:\.[a-z_]+)?(?:\([a-z_, ]*\)|\b))|\b((?:[0-9]{2}|OD|XX)[0-9A-Z]{3})\b|\b([a-z]+(?:_[a-z0-9]+)+(?:\(\))?)|(.))/gs)
	{
		my ($code, $name, $object, $sqlstate, $identifier, $other) = ($1, $2, $3, $4, $5, $6);
		if (defined $code)
		{
			$result .= $code;
		}
		elsif (defined $name)
		{
			my $target = target($object, substr($text, 0, pos($text) - length($name)), $where);
			$result .= defined $target ? "[`$name`](#" . anchor($target) . ')' : $name;
		}
		elsif (defined $sqlstate && ($error{$sqlstate} || $sqlstate =~ /[A-Z]/))
		{
			push @problems, "$where: $sqlstate is not in docs/errors.tsv" unless $error{$sqlstate};
			$result .= "[$sqlstate](#" . lc($sqlstate) . ')';
		}
		elsif (defined $identifier)
		{
			$result .= "`$identifier`";
		}
		else
		{
			$result .= ($other // $sqlstate) =~ s/([\\*<\[\]|])/\\$1/gr;
		}
	}
	return $result;
}

# A COMMENT: paragraphs, and lists of what begins with one of the names or an SQLSTATE.
sub comment
{
	my ($text, $where, @names) = @_;
	my %name = map { $_ => 1 } @names;
	my $list = 0;
	my $result = '';
	foreach my $line (split /\n/, $text)
	{
		my ($head, $rest) = $line =~ /^(\w+(?:, \w+)*): (.+)$/;
		my @heads = defined $head ? split(/, /, $head) : ();
		my $item;
		if (@heads && !grep { !$name{$_} } @heads)
		{
			$item = join(', ', map { "`$_`" } @heads) . ': ' . markdown($rest, $where);
		}
		elsif (@heads && !grep { !/^[0-9A-Z]{5}$/ || !/[0-9]/ } @heads)
		{
			foreach my $sqlstate (grep { !$error{$_} } @heads)
			{
				push @problems, "$where: $sqlstate is not in docs/errors.tsv";
			}
			$item = join(', ', map { "[$_](#" . lc($_) . ')' } @heads) . ': ' . markdown($rest, $where);
		}
		$result .= defined $item ? ($list ? '' : "\n") . "- $item\n" : "\n" . markdown($line, $where) . "\n";
		$list = defined $item;
	}
	return $result;
}

# A function's declaration.
sub signature
{
	my ($function) = @_;
	my (@in, @columns);
	foreach my $parameter (@{ $function->{parameters} // [] })
	{
		my $default = $parameter->{default};
		my $text = ($parameter->{mode} eq 'v' ? 'VARIADIC ' : $parameter->{mode} eq 'b' ? 'INOUT ' : '') . "$parameter->{name} $parameter->{type}";
		$default =~ s/::(?:\Q$parameter->{type}\E|text)$// if defined $default;
		$text .= " DEFAULT $default" if defined $default;
		push @{ $parameter->{mode} eq 't' ? \@columns : \@in }, $text;
	}
	my $result = @columns ? "TABLE (\n    " . join(",\n    ", @columns) . "\n)" : $function->{result};
	my $list = @in > 1 ? "(\n    " . join(",\n    ", @in) . "\n)" : "(@in)";
	return "$function->{verb}durable.$function->{name}$list" . ($result ne '' ? " RETURNS $result" : '');
}

# The columns of what a function returns, whose names its COMMENT may explain.
sub result_columns
{
	my ($function) = @_;
	return map { $_->{name} } @{ $function->{parameters} // [] };
}

sub columns
{
	my ($object) = @_;
	my $result = "\n| column | type | |\n| --- | --- | --- |\n";
	foreach my $column (@{ $object->{columns} })
	{
		my $where = "column durable.$object->{name}.$column->{name}";
		push @problems, "$where has no COMMENT" unless $column->{comment};
		$result .= "| `$column->{name}` | `$column->{type}` | " . markdown($column->{comment} // '', $where) . " |\n";
	}
	return $result;
}

# A value of a setting in the largest unit that has it whole, as SHOW does.
sub value
{
	my ($value, $setting) = @_;
	my @units = $setting->{unit} eq 'kB' ? (kB => 1024, MB => 1024, GB => 1024, TB => 0)
	  : $setting->{unit} eq 'ms' ? (ms => 1000, s => 60, min => 60, h => 24, d => 0)
	  : $setting->{unit} eq 's' ? (s => 60, min => 60, h => 24, d => 0) : ();
	return $value if !@units;
	while ($value != 0 && $units[1] != 0 && $value % $units[1] == 0)
	{
		$value /= $units[1];
		splice(@units, 0, 2);
	}
	return $value . $units[0];
}

# Objects and groups must be the same.
sub compare
{
	my ($kind, $grouped, @existing) = @_;
	my %grouped;
	$grouped{$_}++ foreach @$grouped;
	my %existing = map { $_ => 1 } @existing;
	push @problems, map { "$kind durable.$_ stands in no group of docs/reference.pl" } grep { !$grouped{$_} } sort keys %existing;
	push @problems, map { "$kind durable.$_ of docs/reference.pl does not exist" } grep { !$existing{$_} } sort keys %grouped;
	push @problems, map { "$kind durable.$_ stands in two groups of docs/reference.pl" } grep { $grouped{$_} > 1 } sort keys %grouped;
}
compare('function', [ map { @$_[ 2 .. $#$_ ] } @groups ], map { $_->{name} } @functions);
compare('view or table', \@relations, keys %relation);
compare('type', \@types, keys %type);

my %context = (
	postmaster => 'restart the server',
	sighup => 'reload the configuration',
	superuser => 'superusers, also in a session',
	user => 'anybody, also in a session');
my $page = '';
my @index;

foreach my $group (@groups)
{
	my ($title, $introduction, @names) = @$group;
	$page .= "\n## $title\n\n" . markdown($introduction, $title) . "\n";
	push @index, [ $title, map { [ $_, "durable.$_" ] } @names ];
	foreach my $name (@names)
	{
		$page .= "\n### durable.$name\n";
		foreach my $function (grep { $_->{name} eq $name } @functions)
		{
			my $where = "function durable.$name";
			my @parameters = map { $_->{name} } @{ $function->{parameters} // [] };
			push @problems, "$where has no COMMENT" unless $function->{comment};
			my $comment = $function->{comment} // '';
			push @problems, map { "the COMMENT of $where does not name $_" } grep { $comment !~ /\b\Q$_\E\b/ } @parameters;
			$page .= "\n```\n" . signature($function) . "\n```\n" . comment($comment, $where, result_columns($function));
		}
	}
}

$page .= "\n## Views and tables\n\nThey show what the caller may see, as the functions do.\n";
push @index, [ 'Views and tables', map { [ $_, $relation{$_} ? $target{$_}{ $relation{$_}{kind} } : '' ] } @relations ];
foreach my $name (grep { $relation{$_} } @relations)
{
	my $object = $relation{$name};
	push @problems, "$object->{kind} durable.$name has no COMMENT" unless $object->{comment};
	$page .= "\n### $target{$name}{$object->{kind}}\n" . comment($object->{comment} // '', "$object->{kind} durable.$name") . columns($object);
}

$page .= "\n## Types\n";
push @index, [ 'Types', map { [ $_, "durable.$_ (type)" ] } @types ];
foreach my $name (grep { $type{$_} } @types)
{
	my $object = $type{$name};
	push @problems, "type durable.$name has no COMMENT" unless $object->{comment};
	$page .= "\n### durable.$name (type)\n";
	$page .= "\nOne of " . join(', ', map { "`$_`" } @{ $object->{labels} }) . ".\n" if $object->{labels};
	$page .= comment($object->{comment} // '', "type durable.$name", @{ $object->{labels} // [] });
	$page .= columns($object) if $object->{columns};
}

$page .= "\n## Settings\n";
push @index, [ 'Settings', map { [ $_->{name}, "$_->{name} (setting)" ] } @settings ];
foreach my $setting (@settings)
{
	my $default = $setting->{boot_val} // '';
	$page .= "\n### $setting->{name} (setting)\n\n| | |\n| --- | --- |\n| type | $setting->{vartype}"
	  . ($setting->{unit} ? ", in $setting->{unit} where no unit is given" : '') . " |\n";
	$page .= '| default | ' . ($default eq '' ? 'empty' : '`' . value($default, $setting) . '`') . " |\n";
	$page .= '| range | ' . value($setting->{min_val}, $setting) . ' to ' . value($setting->{max_val}, $setting) . " |\n" if defined $setting->{min_val};
	$page .= '| values | ' . join(', ', map { "`$_`" } @{ $setting->{enumvals} }) . " |\n" if $setting->{enumvals};
	$page .= "| to change it | $context{$setting->{context}} |\n";
	$page .= comment($setting->{short_desc}, "setting $setting->{name}");
	$page .= comment($setting->{extra_desc}, "setting $setting->{name}") if $setting->{extra_desc};
}

$page .= <<'MARKDOWN';

## SQLSTATEs

The codes that begin with OD are durable's own. PL/pgSQL has no condition names for them: write `WHEN SQLSTATE 'OD006'`.
The others are PostgreSQL's, and are listed with what they mean here. The functions of users, and PostgreSQL, raise any others.

| SQLSTATE | condition | cause | cure |
| --- | --- | --- | --- |
MARKDOWN
push @index, [ 'SQLSTATEs' ];
foreach my $error (@errors)
{
	my $where = "docs/errors.tsv: $error->{sqlstate}";
	$page .= '| <a id="' . lc($error->{sqlstate}) . "\"></a>$error->{sqlstate} | " . ($error->{condition} ne '' ? "`$error->{condition}`" : '')
	  . ' | ' . markdown($error->{cause}, $where) . ' | ' . markdown($error->{cure}, $where) . " |\n";
}

if (@problems)
{
	print STDERR map { "$_\n" } @problems;
	exit 1;
}

binmode(STDOUT, ':encoding(UTF-8)');
print <<'MARKDOWN';
# Reference

<!-- Written by `make docs` from the COMMENTs in src/sql, the descriptions in src/common/guc.c, and docs/errors.tsv. Change these. -->

All functions, views, tables, types, settings and SQLSTATEs. In psql `\df+ durable.start_new` shows the text on a function, best with
`\x`, and `\d+ durable.instances` shows the columns of a view. In all texts *you* are the current role.

MARKDOWN
foreach my $entry (@index)
{
	my ($title, @items) = @$entry;
	print "- [$title](#" . anchor($title) . ')' . (@items ? ': ' : '')
	  . join(', ', map { "[`$_->[0]`](#" . anchor($_->[1]) . ')' } @items) . "\n";
}
print $page;
