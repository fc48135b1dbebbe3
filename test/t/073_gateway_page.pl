# docs/http-gateway.md: its shell blocks run in order and print what the block after each says, its table of options is that of
# --help, its tables of routes and metrics are complete, and systemd accepts its unit.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time sleep);
use DurableTest;
use lib 'test/gateway';
use DurableGateway;

plan skip_all => 'the gateway is not built' unless -x gateway_program();
plan skip_all => 'there is no curl that knows --json' if system('curl --help all 2>/dev/null | grep -q -e --json') != 0;

my $page = slurp_file('docs/http-gateway.md');
my @blocks;
while ($page =~ /^```(\w+)\n(.*?)^```$(\n```text\n(.*?)^```$)?/msg)
{
	push @blocks, { language => $1, code => $2, expected => $4 };
}

my $node = durable_node('gateway_page');
my $directory = "$ENV{DURABLE_TMP}/tmp/page-$$";
mkdir $directory;
my ($gateway, $assignments) = (undef, '');

# Runs lines of a shell block; returns what they print.
sub shell
{
	my ($lines) = @_;
	return '' if $lines !~ /\S/;
	my $output = '';
	my $script = "cd $directory\ncurl() { command curl -sS \"\$@\"; echo; }\n$assignments$lines";
	$script =~ s/127\.0\.0\.1:8080/127.0.0.1:$gateway->{port}/g if $gateway;
	IPC::Run::run([ 'bash', '-c', $script ], '>', \$output, '2>&1', IPC::Run::timeout(60));
	$assignments .= "$1\n" while $lines =~ /^(\w+=\S+)$/mg;
	$output =~ s/127\.0\.0\.1:$gateway->{port}/127.0.0.1:8080/g if $gateway;
	return $output =~ s/\r//gr;
}

# Runs a shell block; a line that starts the gateway does so in the place of the one before.
sub run
{
	my ($code) = @_;
	my $output = '';
	foreach my $part (split /^(durable-gateway .*\n)/m, $code)
	{
		if ($part !~ /^durable-gateway (.*)/)
		{
			$output .= shell($part);
			next;
		}
		my %options = $1 =~ /--([\w-]+) ('[^']*'|\S+)/g;
		$gateway->stop if $gateway;
		like(delete $options{dbname}, qr/user=shop_app/, 'its role is shop_app');
		my $listen = (delete $options{listen} // '127.0.0.1:8080') =~ s/:8080$/:0/r;
		$gateway = gateway_start($node, dbname => $node->connstr('postgres') . ' user=shop_app', listen => $listen,
			args => [ map { ("--$_", "$directory/$options{$_}") } keys %options ]);
		$output .= $gateway->{ready} =~ s/:$gateway->{port}/:8080/r;
	}
	return $output;
}

# Whether each expected line is in the output, in order; … stands for anything.
sub as_expected
{
	my ($output, $expected) = @_;
	my $pattern = join '.*^', map { join '[^\n]*', map { quotemeta } split /…/, $_, -1 } split /\n/, $expected;
	return $output =~ /^$pattern$/ms;
}

foreach my $block (@blocks)
{
	if ($block->{language} eq 'sql')
	{
		$node->safe_psql('postgres', $block->{code});
	}
	elsif ($block->{language} eq 'sh')
	{
		my ($title) = $block->{code} =~ /(.*)\n\z/;
		my $output = run($block->{code});
		# what only looks may have to look again
		my $until = time + 30;
		while ($block->{code} !~ /json|POST|DELETE|durable-gateway/ && time < $until && !as_expected($output, $block->{expected}))
		{
			sleep(0.05);
			$output = run($block->{code});
		}
		ok(as_expected($output, $block->{expected}), $title) or diag "expected:\n$block->{expected}\ngot:\n$output";
	}
}
my $key = slurp_file("$directory/keys");
chomp $key;
my $metrics = $gateway->call('GET', '/metrics', undef, { 'x-functions-key' => $key })->{content};
is($gateway->stop, '0', 'exit 0');

# Options
my $help = qx(${\ gateway_program()} --help);
my (@options, @documented);
while ($help =~ /^  --(\S+ \S+) +\(DURABLE_GATEWAY_(\w+)\)\n((?:      .*\n)+)/mg)
{
	my ($name, $variable, $text) = ($1, $2, $3);
	my ($default, $range) = $text =~ /Default: ([^;\n]+?)(?:; ([\d to]+))?\.\n\z/;
	is($variable, uc($name =~ s/ .*//r =~ s/-/_/gr), "the variable of --$name");
	push @options, "`--$name` | " . (defined $default ? "`$default`" : '') . ' | ' . ($range // '');
}
push @documented, $1 =~ s/ +\|/ |/gr while $page =~ /^\| (`--[^|]+\|[^|]*\|[^|]*?) *\|/mg;
is_deeply([ map { s/\s+/ /gr =~ s/ $//r } @documented ], [ map { s/\s+/ /gr =~ s/ $//r } @options ], 'the table of options is that of --help');

# Routes, as --help names them
foreach my $path ($help =~ m{^  (?:POST|GET|DELETE) +(/\S+)}mg)
{
	my ($plain) = $path =~ m{^([^[,]+?)(/?[[,].*)?$};
	$plain =~ s/\{(\w+)\}/\\{\\w+\\}/g;
	like($page, qr{^\| .*`\w+ $plain`}m, "$path is in the table of routes");
}
foreach my $parameter ($help =~ /\b(\w+)=[,\w|]*(?=,|\n)/g)
{
	like($page, qr/`[^`]*\b$parameter\b[^`]*`/, "$parameter= is there");
}

# Metrics
my %served = map { $_ => 1 } $metrics =~ /^# TYPE (\w+)/mg;
$served{durable_gateway_request_seconds_sum} = delete $served{durable_gateway_request_seconds};
my %told = map { $_ => 1 } $page =~ /`(durable_\w+)`(?=.*\|)/g;
is_deeply([ sort keys %told ], [ sort keys %served ], 'the table of metrics is what /metrics has');

SKIP:
{
	skip 'there is no systemd-analyze', 1 if system('systemd-analyze --version >/dev/null 2>&1') != 0;
	my ($unit) = map { $_->{code} } grep { $_->{language} eq 'ini' } @blocks;
	$unit =~ s/^ExecStart=.*/'ExecStart=' . gateway_program()/me;
	append_to_file("$directory/durable-gateway.service", $unit);
	my $complaints = qx(systemd-analyze verify $directory/durable-gateway.service 2>&1);
	unlike($complaints, qr/durable-gateway\.service/, 'systemd accepts the unit');
}
done_testing();
