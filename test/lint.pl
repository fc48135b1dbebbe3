# Checks of the source that no compiler makes: which folder may include which, names that mean one thing, phrases that
# CONTRIBUTING.md asks to avoid, and whether docs/architecture.md still fits the source. Prints what is wrong, with file and line.
use strict;
use warnings;

my @problems;

sub slurp
{
	my ($file) = @_;
	open(my $in, '<', $file) or die "$file: $!";
	local $/;
	return scalar <$in>;
}

# Each folder may include only what stands left of it; worker and client stand beside each other.
my @order = qw(common shmem sched store call engine search worker|client init);
my %rank;
foreach my $i (0 .. $#order)
{
	$rank{$_} = $i foreach split /\|/, $order[$i];
}
my %source = map { $_ => slurp($_) } glob 'src/*/*.[ch]';
foreach my $file (sort keys %source)
{
	my ($folder) = $file =~ m{^src/(\w+)/};
	push @problems, "$file: folder $folder has no place in the order" unless defined $rank{$folder} || $folder eq 'gateway';
	while ($source{$file} =~ m{^#include "(?:\.\./)?((\w+)/\w+\.h)"}mg)
	{
		my ($header, $from) = ($1, $2);
		next unless defined $rank{$from} && $from ne $folder;
		my $allowed = $folder eq 'gateway' ? $header eq 'common/links.h' : $rank{$from} < $rank{$folder};
		push @problems, "$file: must not include $header" unless $allowed;
	}
}

# A header is implemented by the file of its name; a struct, and a static function, has a name of its own.
my %seen;
foreach my $file (sort keys %source)
{
	my $program = $file =~ m{/gateway/} ? 'gateway' : 'extension';
	(my $code = $source{$file}) =~ s{/\*.*?\*/}{ $& =~ s/[^\n]//gr }gse;
	my @names;
	push @names, [ 'struct', $1 ] while $code =~ /^(?:typedef )?(?:struct|enum) (\w+)\n\{/mg;
	push @names, [ 'function', $1 ] while $code =~ /^(\w+)\([^;{]*?\)\n\{/mg;
	foreach (@names)
	{
		my ($kind, $name) = @$_;
		push @problems, "$file: $kind $name is defined in $seen{$program}{$kind}{$name}, too" if $seen{$program}{$kind}{$name};
		$seen{$program}{$kind}{$name} = $file;
	}
}
foreach my $file (grep { /\.h$/ } sort keys %source)
{
	my $program = $file =~ m{/gateway/} ? 'gateway' : 'extension';
	while ($source{$file} =~ /^(?:_Noreturn )?extern (?!PGDLLEXPORT)[^;]*?\b(\w+)\s*\([^;]*\);/mg)
	{
		my $name = $1;
		my $where = $seen{$program}{function}{$name} // next;
		push @problems, "$file: $name is implemented in $where" unless $where eq $file =~ s/h$/c/r;
	}
}

# docs/architecture.md names every file of the source; the files and functions that it names exist. A header goes with the file
# that implements it. A function right before a file in parentheses, `name()` (`folder/file.c`), is defined in that file.
my $page = slurp('docs/architecture.md');
my $folders = join('|', map { m{^src/(\w+)/} } keys %{ { map { s{[^/]*$}{}r => 1 } keys %source } });
my %named = map { $_ => 1 } $page =~ m{\b((?:$folders)/\w+\.[ch])\b}g;
foreach (sort keys %named)
{
	push @problems, "docs/architecture.md: there is no src/$_" unless -e "src/$_";
}
foreach my $file (map { s{^src/}{}r } sort keys %source)
{
	my $implementation = $file =~ s/h$/c/r;
	push @problems, "docs/architecture.md: src/$file has no line" unless $named{ -e "src/$implementation" ? $implementation : $file };
}
my %parts = map { $_ => 1 } $page =~ m{\b(src/sql/[\w-]+\.sql)\b}g;
push @problems, map { "docs/architecture.md: there is no $_" } grep { !-e } sort keys %parts;
push @problems, map { "docs/architecture.md: $_ has no line" } grep { !$parts{$_} } glob 'src/sql/*.sql';

sub defines
{
	my ($function, @files) = @_;
	return grep { ($source{$_} // '') =~ /^$function\(/m } @files;
}
my %function = map { $_ => 1 } $page =~ /`(\w+)\(\)`/g;
push @problems, map { "docs/architecture.md: no file defines $_" } grep { !defines($_, keys %source) } sort keys %function;
while ($page =~ /`(\w+)\(\)` \(`([\w\/]+\.c)`\)/g)
{
	push @problems, "docs/architecture.md: src/$2 does not define $1" if defines($1, keys %source) && !defines($1, "src/$2");
}

print "$_\n" foreach @problems;
exit(@problems ? 1 : 0);
