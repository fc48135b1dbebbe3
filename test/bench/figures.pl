# Makes of one file of results what the manual shows: `perl test/bench/figures.pl [results.json]` (the newest, if none is
# named) writes test/bench/plots/*.svg, and what is between the two marks in README.md (some figures) and
# docs/performance.md (all of them, and the plots).
use strict;
use warnings;
use JSON::PP;
use List::Util qw(first max min);

my $file = $ARGV[0] // (sort glob 'test/bench/results/*.json')[-1] // die "no results\n";
open my $handle, '<', $file or die "$file: $!\n";
my $result = decode_json(do { local $/; <$handle> });
my $series = $result->{series} // {};
mkdir 'test/bench/plots';

my ($width, $height, $left, $right, $top, $bottom) = (720, 350, 64, 190, 62, 48);
my @colors = ('a', 'b', 'c', 'd');

# A number as people write it.
sub number
{
	my ($n) = @_;
	my $text = abs($n) >= 100 || $n == int($n) ? sprintf('%.0f', $n) : abs($n) >= 10 ? sprintf('%.1f', $n) : sprintf('%.2g', $n);
	$text = 0 + $text if $text =~ /e/;
	1 while $text =~ s/^(-?\d+)(\d{3})/$1,$2/;
	return $text;
}

# A function from values to places on an axis, and the ticks of it: [value, label]...
sub log_axis
{
	my ($from, $to, $begin, $end) = @_;
	return sub { $begin + ($end - $begin) * log($_[0] / $from) / log($to / $from) };
}

sub escape
{
	my ($text) = @_;
	$text =~ s/&/&amp;/g;
	$text =~ s/</&lt;/g;
	return $text;
}

# plot(name, title, x axis, y axis, lines): an axis is {title, at => function, ticks}, a line [label, [x, y]...].
sub plot
{
	my ($name, $title, $x, $y, @lines) = @_;
	my ($x1, $y1) = ($width - $right, $height - $bottom);
	my $svg = <<"SVG";
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 $width $height" width="$width" height="$height" role="img" aria-label="@{[escape($title)]}">
<style>
text { font: 13px system-ui, -apple-system, "Segoe UI", sans-serif; fill: #6e7781 }
.title { font-size: 15px; font-weight: 600 }
.grid { stroke: #8c959f; stroke-opacity: 0.35 }
.line { fill: none; stroke-width: 2.5; stroke-linejoin: round; stroke-linecap: round }
.line.a { stroke: #0969da } .dot.a, text.a { fill: #0969da }
.line.b { stroke: #bc4c00 } .dot.b, text.b { fill: #bc4c00 }
.line.c { stroke: #1a7f37 } .dot.c, text.c { fill: #1a7f37 }
.line.d { stroke: #8250df } .dot.d, text.d { fill: #8250df }
text.a, text.b, text.c, text.d { font-weight: 600 }
\@media (prefers-color-scheme: light) { text { fill: #424a53 } .title { fill: #1f2328 } }
\@media (prefers-color-scheme: dark) {
text { fill: #adb5bd } .title { fill: #f0f6fc }
.line.a { stroke: #58a6ff } .dot.a, text.a { fill: #58a6ff }
.line.b { stroke: #f0883e } .dot.b, text.b { fill: #f0883e }
.line.c { stroke: #3fb950 } .dot.c, text.c { fill: #3fb950 }
.line.d { stroke: #bc8cff } .dot.d, text.d { fill: #bc8cff }
}
</style>
<text class="title" x="$left" y="22">@{[escape($title)]}</text>
SVG
	for my $tick (@{$y->{ticks}})
	{
		my $at = sprintf '%.1f', $y->{at}->($tick->[0]);
		$svg .= qq(<line class="grid" x1="$left" y1="$at" x2="$x1" y2="$at"/>\n);
		$svg .= sprintf qq(<text x="%d" y="%.1f" text-anchor="end">%s</text>\n), $left - 8, $at + 4, $tick->[1];
	}
	for my $tick (@{$x->{ticks}})
	{
		my $at = sprintf '%.1f', $x->{at}->($tick->[0]);
		$svg .= sprintf qq(<text x="%s" y="%d" text-anchor="middle">%s</text>\n), $at, $y1 + 19, $tick->[1];
	}
	$svg .= sprintf qq(<text x="%d" y="%d" text-anchor="middle">%s</text>\n), ($left + $x1) / 2, $height - 8, escape($x->{title});
	$svg .= sprintf qq(<text x="%d" y="%d">%s</text>\n), 8, $top - 14, $y->{title};
	my @labels;
	for my $i (0 .. $#lines)
	{
		my ($label, @points) = @{$lines[$i]};
		my $color = $colors[$i % @colors];
		my @places = map { sprintf '%.1f,%.1f', $x->{at}->($_->[0]), $y->{at}->($_->[1]) } @points;
		$svg .= qq(<polyline class="line $color" points="@places"/>\n);
		if (@points <= 10)
		{
			$svg .= sprintf qq(<circle class="dot $color" cx="%s" cy="%s" r="4"/>\n), split /,/ for @places;
		}
		my ($end_x, $end_y) = split /,/, $places[-1];
		push @labels, [$end_y + 4, $label, $color];
	}
	# Labels stand beside the ends of their lines and not on each other.
	my $last = -100;
	for my $label (sort { $a->[0] <=> $b->[0] } @labels)
	{
		my $at = max($label->[0], $last + 16);
		$last = $at;
		$svg .= sprintf qq(<text class="%s" x="%d" y="%.1f">%s</text>\n), $label->[2], $x1 + 10, $at, escape($label->[1]);
	}
	$svg .= "</svg>\n";
	open my $out, '>', "test/bench/plots/$name.svg" or die "$name.svg: $!\n";
	print $out $svg;
	close $out or die "$name.svg: $!\n";
}

# A logarithmic axis for values between two: its ends and ticks at 1, 2, 5, 10 ... or powers of ten.
sub log_ticks
{
	my ($low, $high) = @_;
	my @ticks;
	my @steps = $high / $low > 300 ? (1) : $high / $low > 30 ? (1, 3) : (1, 2, 5);
	for my $power (-3 .. 7)
	{
		push @ticks, map { $_ * 10**$power } @steps;
	}
	my $from = (grep { $_ <= $low } @ticks)[-1];
	my $to = first { $_ >= $high } @ticks;
	return $from, $to, [map { [$_, number($_)] } grep { $_ >= $from && $_ <= $to } @ticks];
}

sub plot_clients
{
	my @points = @{$series->{'clients, a write each step'} // return};
	my $most = max(map { $_->[1] } @points);
	my $step = first { $most / $_ <= 6 } 50, 100, 200, 250, 500, 1000, 2000, 2500, 5000, 10000, 20000;
	my $end = $step * (int($most / $step) + 1);
	my $at = log_axis($points[0][0], $points[-1][0], $left + 10, $width - $right - 10);
	plot('clients', 'hello by clients that each start one and wait for it',
		{title => 'clients', at => $at, ticks => [map { [$_->[0], $_->[0]] } @points]},
		{
			title => 'instances/s', at => sub { ($height - $bottom) + ($top - $height + $bottom) * $_[0] / $end },
			ticks => [map { [$_ * $step, number($_ * $step)] } 0 .. $end / $step]
		},
		['durable', @points]);
}

sub plot_latency
{
	my @lines = map { [$_, @{$series->{"latency $_"}}] } grep { $series->{"latency $_"} } 'durable, a write each step', 'durable, a commit each step', qw(dbos restate openworkflow);
	return unless @lines;
	my %names = ('durable, a write each step' => 'durable', 'durable, a commit each step' => 'durable, no writes', dbos => 'DBOS', restate => 'Restate');
	my @values = map { $_->[1] } map { @$_[1 .. $#$_] } @lines;
	my ($from, $to, $ticks) = log_ticks(min(@values), max(@values));
	my $scale = log_axis(1, 1000, $left + 10, $width - $right - 10);
	plot('latency', 'One hello from start_new to its end, one client',
		{
			title => 'percentile', at => sub { $scale->(100 / (100 - $_[0])) },
			ticks => [map { [$_, $_] } 1, 50, 90, 99, 99.9]
		},
		{title => 'ms', at => log_axis($from, $to, $height - $bottom, $top), ticks => $ticks},
		map { [$names{$_->[0]} // $_->[0], @$_[1 .. $#$_]] } @lines);
}

sub plot_cost
{
	my @lines = (
		$series->{'sequence, a write each'} ? ['in sequence', @{$series->{'sequence, a write each'}}] : (),
		$series->{'sequence, a commit each'} ? ['in sequence, no writes', @{$series->{'sequence, a commit each'}}] : (),
		$series->{'fanout, a write each'} ? ['in parallel', @{$series->{'fanout, a write each'}}] : (),
		$series->{'fanout, in PL/pgSQL'} ? ['in parallel, no writes', @{$series->{'fanout, in PL/pgSQL'}}] : ());
	return unless @lines;
	my @values = map { $_->[1] } map { @$_[1 .. $#$_] } @lines;
	my ($from, $to, $ticks) = log_ticks(min(@values), max(@values));
	plot('cost', 'Time of an activity, start and end of its instance included',
		{title => 'activities of the instance', at => log_axis(10, 10000, $left + 10, $width - $right - 10),
			ticks => [map { [$_, number($_)] } 10, 100, 1000, 10000]},
		{title => "&#181;s", at => log_axis($from, $to, $height - $bottom, $top), ticks => $ticks},
		@lines);
}

# The figures, in this order, by workload and measure; the number is put where @ stands.
my @rows = (
	['hello', 'started in one statement, a write each step', 'Three activities in sequence that write a row each, 10,000 instances started in one statement', '@/s'],
	['hello', 'started by 8 clients, a write each step', 'The same, started by 8 clients, each start in its own transaction', '@/s'],
	['hello', 'started in one statement, a commit each step', 'Three activities in sequence that write nothing, 10,000 instances started in one statement', '@/s'],
	['hello', 'started by 8 clients, a commit each step', 'The same, started by 8 clients, each start in its own transaction', '@/s'],
	['floor', 'share, a write each step', 'Share of plain SQL that writes the same rows in batches', '@ %'],
	['floor', 'share, a commit each step', 'Share of plain SQL that writes the same rows in batches, with activities that write nothing', '@ %'],
	['noop', 'started in one statement', 'Instances without activities', '@/s'],
	['latency', 'hello, 1 client, p50, a write each step', 'One hello on an idle system, from start to result, with activities that write: median', '@ ms'],
	['latency', 'hello, 1 client, p99, a write each step', 'The same, 99th percentile', '@ ms'],
	['latency', 'hello, 1 client, p50, a commit each step', 'One hello on an idle system, from start to result, with activities that write nothing: median', '@ ms'],
	['latency', 'hello, 1 client, p99, a commit each step', 'The same, 99th percentile', '@ ms'],
	['ping', 'event to custom status, p50', 'An event to a waiting instance and its answer: median', '@ ms'],
	['fanout', '1,000 activities, a write each', 'Activities of one instance in parallel (1,000) that write a row each', '@/s'],
	['fanout', '1,000 activities, in PL/pgSQL', 'Activities of one instance in parallel (1,000) that write nothing', '@/s'],
	['sequence', '1,000 activities, a write each', 'Activities of one instance in sequence (1,000) that write a row each', '@/s'],
	['sequence', '1,000 activities, a commit each', 'Activities of one instance in sequence (1,000) that write nothing', '@/s'],
	['timers', "CPU of durable's processes, 100,000 asleep", 'CPU of the processes of durable while 100,000 instances sleep', '@ % of a core'],
	['timers', 'p99 lateness, 1500/s due', 'Lateness of timers, 1,500 due a second: 99th percentile', '@ s'],
	['recovery', 'the server killed, from there to progress', 'From the first connection after a kill -9 of the server to progress', '@ s'],
	['wal', 'WAL of one hello, a write each step', 'WAL of one hello whose activities write a row each', '@ bytes'],
	['dbos', 'hello', 'DBOS, the same hello on the same server', '@/s'],
	['restate', 'hello', 'Restate, the same hello on the same machine', '@/s'],
	['openworkflow', 'hello', 'openworkflow, the same hello on the same server', '@/s'],
	['graphile-worker', 'jobs of a bare queue', 'graphile-worker, a bare queue', '@ jobs/s'],
	['pg-boss', 'jobs of a bare queue', 'pg-boss, a bare queue', '@ jobs/s']);

# Those that README.md shows.
my %in_readme = map { ($_ => 1) } ('hello/started in one statement, a write each step', 'floor/share, a write each step',
	'latency/hello, 1 client, p50, a write each step', 'ping/event to custom status, p50', 'fanout/1,000 activities, a write each',
	"timers/CPU of durable's processes, 100,000 asleep", 'timers/p99 lateness, 1500/s due',
	'recovery/the server killed, from there to progress', 'dbos/hello', 'restate/hello', 'openworkflow/hello');

# A table of the rows given, for a page from which the repository's root is at $root.
sub table
{
	my ($root, @shown) = @_;
	my %metrics = map { ("$_->{id}/$_->{what}" => $_) } @{$result->{metrics}};
	my $machine = $result->{machine};
	my $text = "| what | median of $result->{sizes}{RUNS} runs |\n| --- | ---: |\n";
	for my $row (@shown)
	{
		my ($id, $what, $label, $format) = @$row;
		# what a file of results does not have is not shown
		my $metric = $metrics{"$id/$what"} or next;
		my $value = number($metric->{median});
		$text .= "| $label | " . ($format =~ s/\@/$value/r) . " |\n";
	}
	my ($name) = $file =~ m{([^/]+)$};
	return $text . sprintf "\nPostgreSQL %s with its default settings, %d cores (%s), [%s](%stest/bench/results/%s).\n",
		$result->{versions}{postgresql} =~ /^(\S+)/, $machine->{cores}, $machine->{processor} =~ s/\s+$//r, $name, $root, $name;
}

# Puts text between the two marks of a page.
sub fill
{
	my ($page, $figures) = @_;
	open my $in, '<', $page or die "$page: $!\n";
	my $text = do { local $/; <$in> };
	$text =~ s/(<!-- figures: begin[^>]*-->\n).*?(<!-- figures: end -->)/$1\n$figures\n$2/s or return warn "$page has no place for figures\n";
	open my $out, '>', $page or die "$page: $!\n";
	print $out $text;
	close $out or die "$page: $!\n";
}

sub fill_pages
{
	my @plots = grep { -e "test/bench/plots/$_->[0].svg" } (['clients', 'Throughput over clients'],
		['latency', 'Distribution of the latency'], ['cost', 'Cost of an activity over the size of its instance']);
	fill('README.md', table('', grep { $in_readme{"$_->[0]/$_->[1]"} } @rows));
	fill('docs/performance.md', table('../', @rows) . join '', map { "\n![$_->[1]](../test/bench/plots/$_->[0].svg)\n" } @plots);
}

binmode STDOUT, ':utf8';
plot_clients();
plot_latency();
plot_cost();
fill_pages();
